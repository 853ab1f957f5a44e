"""`make bench`: the gateway side by side with what a caller would use without it."""
