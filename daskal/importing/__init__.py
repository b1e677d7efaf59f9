"""Votes in long format, one a line, into an aligned store of sparse votes."""
