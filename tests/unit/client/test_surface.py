"""What `import dag_inference` brings, and what it does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dag_inference
from dag_inference import errors


def test_every_error_is_at_the_top() -> None:
    """All of the table can be imported from `dag_inference`."""
    tree = [errors.DagInferenceError]
    for kind in tree:
        tree.extend(kind.__subclasses__())

    assert {kind.__name__ for kind in tree} <= set(dag_inference.__all__)


def test_every_public_name_exists() -> None:
    """`__all__` promises nothing that is not there."""
    assert [name for name in dag_inference.__all__ if not hasattr(dag_inference, name)] == []


@pytest.mark.parametrize(
    "first",
    [
        "dag_inference",
        "dag_inference.errors",
        "dag_inference.v1.dag_inference_pb2",
        "dag_inference.v1.dag_inference_pb2_grpc",
    ],
)
def test_any_module_may_be_imported_first_without_the_cli(first: str) -> None:
    """There are no import cycles, and typer and rich stay where they are."""
    script = f"import {first}, sys; assert not {{'typer', 'rich'}} & set(sys.modules)"

    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
