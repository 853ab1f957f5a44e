"""The newest Airflow, booted for these tests alone: its parts are killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dag_inference_server.standalone.airflow import EmbeddedAirflow, running_airflow
from dag_inference_server.standalone.progress import Progress
from e2e.harness import HERE, SHELL_ENVIRONMENT


@pytest.fixture
def airflow() -> Iterator[EmbeddedAirflow]:
    with (
        TemporaryDirectory(prefix="airflow-soak-") as state,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name in os.environ.keys() - SHELL_ENVIRONMENT.keys():
            environment.delenv(name)
        with running_airflow(
            Path(state), [HERE / "dags"], 0, Progress(), ending=lambda: None
        ) as running:
            yield running
            assert running.problem() is None
