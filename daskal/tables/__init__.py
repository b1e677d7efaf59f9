"""Files that hold a table or an array: what they are, and how rows of them are read."""
