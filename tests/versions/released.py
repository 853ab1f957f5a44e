"""An Airflow of some release as the tests see it: from behind the gateway, and from beside it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dag_inference_server.standalone.airflow import USER, EmbeddedAirflow
from e2e.harness import ROOT, SHELL_ENVIRONMENT
from e2e.ui import AirflowUi

OLDER = ("3.1", "3.2")
"""The releases that are served besides the newest."""

NEWEST = "3.3"

DAGS = Path(__file__).with_name("dags")


def interpreter(release: str) -> Path:
    """The Python that a release is installed for; `make test-versions` installs the older ones."""
    if release == NEWEST:
        return Path(sys.executable)
    python = ROOT / f".venv-airflow-{release}" / "bin" / "python"
    assert python.exists(), f"no {python}: run `make test-versions`"
    return python


@dataclass(frozen=True)
class ReleasedAirflow:
    """One that runs."""

    release: str
    state: Path
    """The folder that it is kept in."""
    running: EmbeddedAirflow

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a gateway in front of it."""
        return {
            **SHELL_ENVIRONMENT,
            "DAG_INFERENCE_AIRFLOW_URL": self.running.url,
            "DAG_INFERENCE_AIRFLOW_USERNAME": USER,
            "DAG_INFERENCE_AIRFLOW_PASSWORD": self.running.password,
            # What is looked for less often is looked for often enough for a test.
            "DAG_INFERENCE_POLL_INTERVAL_MAX": "0.5",
        }

    @cached_property
    def ui(self) -> AirflowUi:
        """Somebody beside the gateway."""
        return AirflowUi(self.running.url, USER, self.running.password)
