"""Tensors to JSON and back: pure functions."""
