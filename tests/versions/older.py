"""An older Airflow as the tests see it: from behind the gateway, and from beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from dag_inference_server.standalone.airflow import USER
from e2e.harness import ROOT, SHELL_ENVIRONMENT

OLDER = ("3.1", "3.2")
"""The releases that are served besides the newest."""

DAGS = Path(__file__).with_name("dags")


def interpreter(release: str) -> Path:
    """The Python that a release is installed for; `make test-versions` installs it."""
    python = ROOT / f".venv-airflow-{release}" / "bin" / "python"
    assert python.exists(), f"no {python}: run `make test-versions`"
    return python


@dataclass(frozen=True)
class OlderAirflow:
    """One that runs."""

    release: str
    url: str
    password: str

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a gateway in front of it."""
        return {
            **SHELL_ENVIRONMENT,
            "DAG_INFERENCE_AIRFLOW_URL": self.url,
            "DAG_INFERENCE_AIRFLOW_USERNAME": USER,
            "DAG_INFERENCE_AIRFLOW_PASSWORD": self.password,
            # What is looked for less often is looked for often enough for a test.
            "DAG_INFERENCE_POLL_INTERVAL_MAX": "0.5",
        }

    def trigger(self, dag_id: str, run_id: str) -> None:
        """Make a run that is not the gateway's."""
        body: dict[str, Any] = {"dag_run_id": run_id, "logical_date": None, "conf": {}}
        self._ask("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)

    def run_state(self, dag_id: str, run_id: str) -> str:
        """The state of a run, as Airflow has it now."""
        state: str = self._ask("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"]
        return state

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """Delete a run, which must not be running."""
        self._ask("DELETE", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")

    @cached_property
    def _token(self) -> str:
        account = {"username": USER, "password": self.password}
        token: str = _send(Request(f"{self.url}/auth/token"), "POST", account)["access_token"]
        return token

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = Request(self.url + path, headers={"Authorization": f"Bearer {self._token}"})
        return _send(request, method, body)


def _send(request: Request, method: str, body: dict[str, Any] | None) -> Any:
    request.method = method
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "null")
