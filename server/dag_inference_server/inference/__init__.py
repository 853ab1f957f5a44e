"""The stubs of the Open Inference Protocol, made by `make generate`."""
