"""Airflows of several releases, the older ones each from an environment of its own.

The first ends before the next boots.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dag_inference import DagInferenceClient
from dag_inference_server.standalone.airflow import running_airflow
from dag_inference_server.standalone.progress import Progress
from e2e.harness import SHELL_ENVIRONMENT, serving
from versions.released import DAGS, NEWEST, OLDER, ReleasedAirflow, interpreter


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of each release waits for its boot."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session", params=OLDER)
def airflow(request: pytest.FixtureRequest) -> Iterator[ReleasedAirflow]:
    release: str = request.param
    python = interpreter(release)
    with (
        # Not pytest's own folder: each pytest that starts takes it away from PostgreSQL's user.
        TemporaryDirectory(prefix=f"airflow-{release}-") as state,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name in os.environ.keys() - SHELL_ENVIRONMENT.keys():
            environment.delenv(name)
        with running_airflow(
            Path(state), [DAGS], 0, Progress(), ending=lambda: None, python=python
        ) as running:
            yield ReleasedAirflow(release, Path(state), running)
            # The newest is there to have its parts killed, and without its database others end,
            # some of them only when all is over.
            assert release == NEWEST or running.problem() is None


@pytest.fixture(scope="session")
def client(airflow: ReleasedAirflow) -> Iterator[DagInferenceClient]:
    """A client of a gateway in front of it."""
    with serving(airflow.settings) as target, DagInferenceClient(target) as client:
        yield client
