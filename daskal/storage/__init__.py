"""Reading and writing: the only code that opens or writes a store."""
