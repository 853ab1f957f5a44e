"""The use case: trigger a run, wait, answer. No protobuf, no HTTP."""
