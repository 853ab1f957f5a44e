"""The stubs of `dag_inference.v1`, made by `make generate`."""
