"""A great many calls of every kind, and what is left of them in the gateway."""
