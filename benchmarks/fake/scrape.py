"""How large a scrape of the metrics is, and what it costs the gateway."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.calls import connections
from benchmarks.fake.airflow import TASK, VALUE, address_of
from benchmarks.gateway import gateway_beside, metrics_port
from benchmarks.processes import cpu_seconds
from benchmarks.report import Cell, Report
from benchmarks.sizes import Sizes
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from dag_inference_server.settings import Settings
from fakes.airflow import Dag, FakeAirflow, Task, steps

_DAGS: int = Settings.model_fields["metrics_dags"].default
"""As many as have series of their own."""

_CALLS = 5
"""Of each DAG."""

_SCRAPES = 10

_FORMATS = {"text": "text/plain", "OpenMetrics": "application/openmetrics-text; version=1.0.0"}

NOTE = f"""After {_CALLS} answered calls of each of {_DAGS} DAGs; of calls that fail in many ways
there is more to tell. Means of {_SCRAPES} scrapes with gzip, as Prometheus makes them, one after
the other; it asks for OpenMetrics. They are made in a thread, beside the calls."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Measure it with as many DAGs as have series of their own."""
    report.say(f"a scrape with {_DAGS} DAGs …")
    script = [steps.finish(TASK, VALUE), steps.end()]
    names = [f"dag_{number}" for number in range(_DAGS)]
    fake = FakeAirflow(*(Dag(name, Task(TASK), script=script) for name in names))
    await fake.start()
    async with (
        gateway_beside(address_of(fake)) as server,
        connections(server.target, 1) as (channel,),
    ):
        stub: Any = rpc.DagInferenceStub(channel)
        for _ in range(_CALLS):
            calls = (stub.Invoke(pb.InvokeRequest(dag_id=name), timeout=60) for name in names)
            await asyncio.gather(*calls)
        port = metrics_port(server.pid, server.target)
        rows = [
            [name, *await asyncio.to_thread(_scraped, server.pid, port, accept)]
            for name, accept in _FORMATS.items()
        ]
    await fake.stop()
    columns = ("format", "lines", "KiB", "KiB with gzip", "seconds", "CPU seconds")
    report.table(f"A scrape with {_DAGS} DAGs", columns, rows, NOTE)


def _scraped(pid: int, port: int, accept: str) -> list[Cell]:
    """A row of the table."""
    text, packed = _get(port, accept, "identity"), _get(port, accept, "gzip")
    start, spent = time.monotonic(), cpu_seconds(pid)
    for _ in range(_SCRAPES):
        _get(port, accept, "gzip")
    seconds, cpu = time.monotonic() - start, cpu_seconds(pid) - spent
    sizes = (len(text) / 1024, len(packed) / 1024)
    return [len(text.splitlines()), *sizes, seconds / _SCRAPES, cpu / _SCRAPES]


def _get(port: int, accept: str, encoding: str) -> bytes:
    headers = {"Accept": accept, "Accept-Encoding": encoding}
    with urlopen(Request(f"http://127.0.0.1:{port}/metrics", headers=headers), timeout=60) as page:
        body: bytes = page.read()
    return body
