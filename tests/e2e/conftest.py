"""A real Airflow, booted once for the whole run by the product's own `standalone`."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from dag_inference import DagInferenceClient
from e2e.harness import (
    BIN,
    HERE,
    ROOT,
    SHELL_ENVIRONMENT,
    Run,
    Standalone,
    found,
    runs,
    started_standalone,
)
from e2e.ui import AirflowUi


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the boot; who uses the folder without it uses the folder before."""
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))
    first = [item for item in ours if _boots_by_itself(item)]
    items[:] = first + [item for item in items if item not in first]


def _boots_by_itself(item: pytest.Item) -> bool:
    fixtures: list[str] = getattr(item, "fixturenames", [])
    return "state_folder" in fixtures and "standalone" not in fixtures


@pytest.fixture(scope="session")
def state_folder() -> Iterator[Path]:
    """The folder of a standalone, which has one user at a time; the second one boots faster."""
    # Not below pytest's own folder: as root, PostgreSQL runs as another user, and each start of a
    # pytest shuts that folder to all others.
    with TemporaryDirectory(prefix="dag-inference-e2e-") as made:
        yield Path(made)


@pytest.fixture(scope="session")
def standalone(
    state_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Standalone]:
    state = state_folder
    dropped = tmp_path_factory.mktemp("dropped")
    folders = (ROOT / "examples" / "dags", HERE / "dags", dropped)
    environment = {
        **SHELL_ENVIRONMENT,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
    }
    with started_standalone(
        state, *(f"--dags={folder}" for folder in folders), environment=environment
    ) as (process, welcome):
        passwords = next((state / "airflow").glob("simple_auth_manager_passwords*"))
        yield Standalone(
            target=found(r"gRPC\s+(\S+)", welcome),
            airflow_url=found(r"Airflow\s+(\S+)", welcome),
            password=found(r"password (\S+)", welcome),
            viewer_password=json.loads(passwords.read_text())["viewer"],
            welcome=welcome,
            state=state,
            dropped=dropped,
        )
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (state / "stderr.log").read_text()
        assert len(family) > 5
        assert [process for process in family if runs(process)] == []


@pytest.fixture(scope="session")
def client(standalone: Standalone) -> Iterator[DagInferenceClient]:
    with DagInferenceClient(standalone.target) as client:
        yield client


@pytest.fixture(scope="session")
def ui(standalone: Standalone) -> AirflowUi:
    return standalone.ui


@pytest.fixture(scope="session")
def run() -> Run:
    """Run one of our commands to its end."""

    def run(
        name: str, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / name, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=env or SHELL_ENVIRONMENT,
        )

    return run
