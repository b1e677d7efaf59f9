"""The user's arrays and tables as aligned data that is cut into blocks."""
