"""Bytes in and out: the only code that opens or writes a store."""
