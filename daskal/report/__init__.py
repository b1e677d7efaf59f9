"""The contents of a run as one HTML page."""
