"""Ids of runs that a test makes itself, as gateways of the default prefix would."""

from __future__ import annotations

from dag_inference_server.invocation.run_ids import RunIds


def ours(name: str) -> str:
    """The same id for the same name."""
    return RunIds("grpc").make("", name)
