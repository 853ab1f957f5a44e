"""Deadlines: does the gateway's answer reach its caller before the caller's own clock rings?"""

from __future__ import annotations

import asyncio
import time
from itertools import product
from typing import Any

import grpc

from benchmarks.calls import connections
from benchmarks.fake.airflow import PARKED, fake_airflow
from benchmarks.gateway import gateway
from benchmarks.report import Cell, Report
from benchmarks.samples import p50
from benchmarks.sizes import Sizes
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc

_DEADLINES = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
"""Seconds."""

_PROMISED = 0.1
"""From this deadline on, in seconds, the caller gets the run's id and state."""

_AT_ONCE = (10, 50)
"""Calls whose deadlines pass together: what is promised of the fewer is shown of the more."""

_DETAILS = "grpc-status-details-bin"

NOTE = f"""Calls of runs that do not end, so many at once on one connection. Ours: with \
{_DETAILS}, which tells run id
and state; the others got their own channel's bare status. Left: from the answer to the deadline."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Let deadlines of every length pass."""
    report.say("deadlines …")
    rows: list[list[Cell]] = []
    lost = 0
    with fake_airflow() as airflow, gateway(airflow.address) as server:
        async with connections(server.target, 1) as (channel,):
            stub: Any = rpc.DagInferenceStub(channel)
            for at_once, deadline in product(_AT_ONCE, _DEADLINES):
                left: list[float] = []
                rounds = max(sizes.deadlines // at_once, 1)
                for _ in range(rounds):
                    calls = (_left(stub, deadline) for _ in range(at_once))
                    left += [one for one in await asyncio.gather(*calls) if one is not None]
                made = rounds * at_once
                if deadline >= _PROMISED and at_once == _AT_ONCE[0]:
                    lost += made - len(left)
                spare = [1000 * p50(left), 1000 * min(left)] if left else [None, None]
                named: list[Cell] = [at_once, f"{1000 * deadline:,.0f} ms", made]
                rows.append([*named, len(left) / made, *spare])
    columns = ("at once", "deadline", "calls", "ours, share", "left p50 ms", "left min ms")
    report.table("Deadlines", columns, rows, NOTE)
    what = f"deadlines from {1000 * _PROMISED:g} ms up, 10 at once, with a bare status"
    report.bar(what, lost, 0, "calls")


async def _left(stub: Any, deadline: float) -> float | None:
    """Seconds that were left when our status came; `None` if another came."""
    start = time.monotonic()
    call = stub.Invoke(pb.InvokeRequest(dag_id=PARKED), timeout=deadline)
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    spent = time.monotonic() - start
    is_ours = any(key == _DETAILS for key, _ in await call.trailing_metadata() or ())
    return deadline - spent if is_ours else None
