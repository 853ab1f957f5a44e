"""Ending runs: by `Cancel`, by `run_timeout`, and those that their callers have left."""
