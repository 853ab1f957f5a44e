"""How long others wait while a large value is read."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.calls import connections
from benchmarks.fake.airflow import LARGE, NUMBERS, fake_airflow
from benchmarks.gateway import gateway
from benchmarks.report import Cell, Report
from benchmarks.samples import p50
from benchmarks.sizes import Sizes
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc

_MEGABYTES = (0.25, 1, 4, 16)
"""Of JSON. The last is the most that is read by default."""

_PAUSE = 0.005
"""Seconds between two questions."""

_MOST = 0.1
"""Seconds that nobody is to wait longer for another's value."""

NOTE = f"""Others: the standard health check, asked every {1000 * _PAUSE:g} ms, which is answered
without a word to Airflow: what it takes longer, the gateway's event loop stands still. Of a large
value, a list of numbers, the gateway makes JSON text; the call is what its caller waits in all."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Ask for health while nobody has a large value, and while somebody has."""
    report.say("large values …")
    settings = {"MAX_RESULT_BYTES": str(32 * 2**20)}
    rows: list[list[Cell]] = []
    with fake_airflow() as airflow, gateway(airflow.address, **settings) as server:
        async with connections(server.target, 2) as (calls, others):
            stub: Any = rpc.DagInferenceStub(calls)
            health: Any = health_pb2_grpc.HealthStub(others)
            rows.append(["none", None, *await _beside(health, asyncio.sleep(2))])
            for megabytes in _MEGABYTES:
                start = time.monotonic()
                waited = await _beside(health, _large(stub, megabytes, sizes.large))
                took = (time.monotonic() - start) / sizes.large
                rows.append([f"{megabytes:g} MB", took, *waited])
    columns = ("value", "call s", "others p50 ms", "others max ms")
    report.table("Others while a large value is read", columns, rows, NOTE)
    longest = float(rows[-1][-1] or 0) / 1000
    report.bar(f"others' max beside a value of {_MEGABYTES[-1]} MB", longest, _MOST, "s")


async def _large(stub: Any, megabytes: float, times: int) -> None:
    conf = json.dumps({NUMBERS: int(megabytes * 1e6 / len("0.123456, "))})
    request = pb.InvokeRequest(dag_id=LARGE, conf_json=conf, result_format=pb.RESULT_FORMAT_JSON)
    for _ in range(times):
        await stub.Invoke(request, timeout=120)


async def _beside(health: Any, work: Any) -> list[float]:
    """What others wait meanwhile, in milliseconds: p50 and the most."""
    working, waited = asyncio.ensure_future(work), []
    while not working.done():
        start = time.monotonic()
        await health.Check(health_pb2.HealthCheckRequest(), timeout=60)
        waited.append(1000 * (time.monotonic() - start))
        await asyncio.sleep(_PAUSE)
    await working
    return [p50(waited), max(waited)]
