"""Both passes into a store, and what is read from it."""
