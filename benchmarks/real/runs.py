"""Runs of a real Airflow: made, ended by hand, and looked at."""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime

import httpx

_AT_ONCE = 8

_PAGE = 100
"""Airflow's own limit."""


def new_run_id() -> str:
    """A run id as the gateway chooses them, so that it can be waited for through it."""
    return f"grpc-{uuid.uuid4().hex}"


async def trigger(airflow: httpx.AsyncClient, dag_id: str) -> str:
    """Make a run; its id."""
    run_id = new_run_id()
    body: dict[str, object] = {"dag_run_id": run_id, "logical_date": None, "conf": {}}
    (await airflow.post(f"/dags/{dag_id}/dagRuns", json=body)).raise_for_status()
    return run_id


async def trigger_many(airflow: httpx.AsyncClient, dag_id: str, count: int) -> list[str]:
    """Make so many runs; their ids."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one() -> str:
        async with turn:
            return await trigger(airflow, dag_id)

    return await asyncio.gather(*(one() for _ in range(count)))


async def unfinished(airflow: httpx.AsyncClient, dag_id: str) -> set[str]:
    """The runs of a DAG that have not ended."""
    found: set[str] = set()
    while True:
        query: dict[str, list[str] | int] = {
            "state": ["queued", "running"],
            "limit": _PAGE,
            "offset": len(found),
        }
        page = (await airflow.get(f"/dags/{dag_id}/dagRuns", params=query)).raise_for_status()
        runs = page.json()["dag_runs"]
        found |= {run["dag_run_id"] for run in runs}
        if len(runs) < _PAGE:
            return found


async def fail(airflow: httpx.AsyncClient, dag_id: str, run_id: str) -> None:
    """Mark a run failed, as a person does in the UI."""
    where = f"/dags/{dag_id}/dagRuns/{run_id}"
    (await airflow.patch(where, json={"state": "failed"})).raise_for_status()


async def wait(airflow: httpx.AsyncClient, dag_id: str, run_id: str, interval: float) -> None:
    """Wait for the end of a run as a caller does without the gateway: by `/wait`."""
    where = f"/dags/{dag_id}/dagRuns/{run_id}/wait"
    (await airflow.get(where, params={"interval": interval})).raise_for_status()


async def ended_at(
    airflow: httpx.AsyncClient, dag_id: str, run_id: str, task_id: str
) -> datetime | None:
    """When a task instance succeeded, by its worker's clock; `None` if it has not."""
    where = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
    instance = (await airflow.get(where)).raise_for_status().json()
    if instance["state"] != "success":
        return None
    return datetime.fromisoformat(instance["end_date"])


async def value(airflow: httpx.AsyncClient, dag_id: str, run_id: str, task_id: str) -> object:
    """What a task returned."""
    where = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
    return (await airflow.get(where)).raise_for_status().json()["value"]
