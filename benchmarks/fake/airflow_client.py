"""The gateway's requests for one call, made by `apache-airflow-client` alone."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from airflow_client.client import (
    ApiClient,
    Configuration,
    DagRunApi,
    TaskInstanceApi,
    TriggerDAGRunPostBody,
    XComApi,
)

from benchmarks.fake.airflow import ANSWERED, TASK
from benchmarks.gateway import Address


class Caller:
    """Triggers a run, reads its value, checks its task instance. For any number of threads."""

    def __init__(self, airflow: Address, connections: int) -> None:
        """Call the Airflow there."""
        account = {"username": airflow.username, "password": airflow.password}
        token = httpx.post(f"{airflow.url}/auth/token", json=account).json()["access_token"]
        configuration = Configuration(host=airflow.url, access_token=token, retries=False)
        configuration.connection_pool_maxsize = connections
        client = ApiClient(configuration)
        self._runs = DagRunApi(client)
        self._values = XComApi(client)
        self._instances = TaskInstanceApi(client)
        self._connections = connections

    def with_models(self) -> None:
        """Make the requests as the client's documentation shows it."""
        run_id = f"client-{uuid.uuid4().hex}"
        self._runs.trigger_dag_run(ANSWERED, _body(run_id))
        self._values.get_xcom_entry(ANSWERED, TASK, run_id, "return_value", stringify=False)
        self._instances.get_task_instance(ANSWERED, run_id, TASK)

    def raw(self) -> None:
        """Make the requests without the client's models: as cheap as it can."""
        run_id = f"client-{uuid.uuid4().hex}"
        _read(self._runs.trigger_dag_run_without_preload_content(ANSWERED, _body(run_id)))
        _read(
            self._values.get_xcom_entry_without_preload_content(
                ANSWERED, TASK, run_id, "return_value", stringify=False
            )
        )
        _read(self._instances.get_task_instance_without_preload_content(ANSWERED, run_id, TASK))

    def per_second(self, seconds: float, *, models: bool) -> float:
        """Calls per second, one after another on every connection."""
        call = self.with_models if models else self.raw
        call()
        start = time.monotonic()

        def repeat() -> int:
            done = 0
            while time.monotonic() - start < seconds:
                call()
                done += 1
            return done

        with ThreadPoolExecutor(self._connections) as threads:
            repeats = [threads.submit(repeat) for _ in range(self._connections)]
        return sum(r.result() for r in repeats) / (time.monotonic() - start)

    def one_by_one(self, samples: int) -> list[float]:
        """Seconds of each of some calls, made raw."""
        seconds = []
        for _ in range(samples):
            start = time.monotonic()
            self.raw()
            seconds.append(time.monotonic() - start)
        return seconds


def _body(run_id: str) -> TriggerDAGRunPostBody:
    return TriggerDAGRunPostBody(dag_run_id=run_id, logical_date=None, conf={"n": 1})


def _read(response: Any) -> Any:
    raw = getattr(response, "response", response)
    if raw.status != 200:
        raise RuntimeError(f"the fake answers {raw.status}")
    return json.loads(raw.data)
