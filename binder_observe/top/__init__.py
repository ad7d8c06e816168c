"""`binder-observe top`: a screen that refreshes, for live observation, recordings and the simulator.

`collector` reads the source in a thread and hands over immutable `frame`s; `table`, `pagemap` and `chart` turn those
into rows and characters without any library for terminals; `app`, `widgets` and `screens` put them on a screen.
"""
