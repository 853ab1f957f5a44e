"""The Open Inference Protocol over the same core: a DAG is a model."""
