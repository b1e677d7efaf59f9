"""The version of daskal."""

__version__ = "0.1.0"
