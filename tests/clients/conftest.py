"""Runs in the environment of another's client, which has none of the gateway's packages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def target() -> Iterator[str]:
    """Where a gateway serves, before a fake Airflow with the DAGs of `stage.py`."""
    others = {n: v for n, v in os.environ.items() if not n.startswith(("DAG_INFERENCE", "PYTHON"))}
    with subprocess.Popen(
        [_ROOT / ".venv/bin/python", "-m", "clients.stage"],
        cwd=_ROOT / "tests",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=others,
    ) as stage:
        assert stage.stdin
        assert stage.stdout
        try:
            yield f"127.0.0.1:{int(stage.stdout.readline())}"
        finally:
            stage.stdin.close()
            assert stage.wait(30) == 0
