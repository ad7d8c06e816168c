"""How long things last: durations of lives, spans and installs, counted in bounded memory, and what they say."""

from binder_observe.lifetimes.durations import Quantiles as Quantiles
