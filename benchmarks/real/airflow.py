"""A real Airflow with the bench's DAGs: fresh, so that no run of the past is in its database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from benchmarks.gateway import Address
from benchmarks.processes import KEPT
from benchmarks.real.client import client
from dag_inference_server.standalone.airflow import USER, running_airflow
from dag_inference_server.standalone.progress import Progress

DAGS = Path(__file__).resolve().parents[1] / "dags"


@dataclass(frozen=True, slots=True)
class RealAirflow:
    """An Airflow that runs and is healthy."""

    address: Address
    token: str
    api_server: int
    """The process id of its API server."""
    api_log: Path
    """What its API server logs, every request included."""
    socket_folder: Path
    """Where its PostgreSQL listens."""

    def client(self) -> httpx.AsyncClient:
        """A client of its API."""
        return client(self.address.url, self.token)


@contextmanager
def real_airflow() -> Iterator[RealAirflow]:
    """Run an Airflow inside the block."""
    with TemporaryDirectory(prefix="dag-inference-bench-") as folder:
        state = Path(folder)
        with running_airflow(state, [DAGS], 0, Progress(), ending=lambda: None) as embedded:
            api_server = next(c for c in embedded.components if c.name == "api-server")
            address = Address(embedded.url, USER, embedded.password)
            try:
                yield RealAirflow(
                    address,
                    _token(address),
                    api_server.process.pid,
                    api_server.log,
                    _socket_folder(state),
                )
            finally:
                KEPT.mkdir(exist_ok=True)
                shutil.copy(api_server.log, KEPT)


def _token(airflow: Address) -> str:
    account = {"username": airflow.username, "password": airflow.password}
    answer = httpx.post(f"{airflow.url}/auth/token", json=account, timeout=60)
    token: str = answer.raise_for_status().json()["access_token"]
    return token


def _socket_folder(state: Path) -> Path:
    """The fifth line of PostgreSQL's `postmaster.pid`."""
    return Path((state / "postgres" / "postmaster.pid").read_text().splitlines()[4])
