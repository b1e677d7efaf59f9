"""A run as one self-contained page, made of what the run stored beside its scores."""
