"""Block in, numbers out: everything that touches rows."""
