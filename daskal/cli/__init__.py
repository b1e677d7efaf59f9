"""The command line, a face of the public functions: it touches no array."""
