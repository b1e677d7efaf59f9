"""What the user holds, as aligned data that is cut into blocks."""
