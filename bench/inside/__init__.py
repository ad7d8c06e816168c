"""What runs in a process of its own, so that neither memory nor threads are shared with what measures."""
