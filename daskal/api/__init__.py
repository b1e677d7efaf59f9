"""The public functions on arrays."""
