"""Writers: one a format, each takes a finished `Report`."""
