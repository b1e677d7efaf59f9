"""Values that merge exactly, and what follows from them: no engine, no compiled code, no HTML."""
