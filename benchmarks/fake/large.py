"""Whether values of many megabytes hold up other calls."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.calls import connections
from benchmarks.fake.airflow import serve
from benchmarks.gateway import Address, gateway
from benchmarks.processes import first_line, module, running
from benchmarks.report import Cell, Report
from benchmarks.samples import p50, p99
from benchmarks.sizes import Sizes
from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Task, steps

_INVOKE = "/dag_inference.v1.DagInference/Invoke"

_EVERY = 0.005
"""Seconds between two looks at health."""

_PATIENCE = 120

_DIFFERENT = 1000
"""Elements, of which the lists are made."""

_TASK = "answer"

_CHANCE = random.Random(1)  # noqa: S311 - no secret

KINDS: Mapping[str, Callable[[], Any]] = {
    "integers": lambda: _CHANCE.randrange(10**6),
    "numbers": _CHANCE.random,
    "texts": lambda: f"{_CHANCE.randrange(2**32):08x}",
    "objects": lambda: {"label": "setosa", "probability": _CHANCE.random()},
    "lists": lambda: [_CHANCE.randrange(1000), _CHANCE.randrange(1000)],
}

NOTE = """A list of so much JSON, of one kind, read alone, and answered as JSON and as a Struct.
Beside it somebody asks for the gateway's health every 5 ms, which needs only its event loop."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Measure health alone, and beside each kind of value."""
    report.say("large values …")
    rows: list[list[Cell]] = []
    with (
        running(module(__name__, json.dumps(sizes.large))) as airflow,
        gateway(Address(**json.loads(first_line(airflow)))) as server,
    ):
        async with connections(server.target, 2) as (calling, watching):
            alone: list[float] = []
            async with _watched(watching, alone):
                await asyncio.sleep(sizes.window)
            rows.append(["nothing", None, *_milliseconds(alone)])
            for size, kind, form in product(sizes.large, KINDS, ("JSON", "STRUCT")):
                beside: list[float] = []
                start = time.monotonic()
                async with _watched(watching, beside):
                    came = await _call(calling, _dag_id(kind, size), form)
                what = f"{size / 1e6:.0f} MB of {kind}, {came}"
                rows.append([what, time.monotonic() - start, *_milliseconds(beside)])
    columns = ("read meanwhile", "s", "health p50 ms", "p99 ms", "max ms")
    report.table("Large values", columns, rows, NOTE)
    worst = max(float(row[-1] or 0) for row in rows)
    report.bar("health beside a large value, max", worst, 50, "ms")


def _dag_id(kind: str, size: int) -> str:
    return f"{kind}-{size}"


def _milliseconds(seconds: list[float]) -> list[Cell]:
    return [1000 * p50(seconds), 1000 * p99(seconds), 1000 * max(seconds)]


async def _call(channel: grpc.aio.Channel, dag_id: str, form: str) -> str:
    """Read a value; the form that it came in, or why it did not."""
    # Its answer stays bytes: to read it would keep whoever looks at health.
    invoke: Any = channel.unary_unary(_INVOKE, pb.InvokeRequest.SerializeToString)
    result_format = pb.ResultFormat.Value(f"RESULT_FORMAT_{form}")
    call = invoke(pb.InvokeRequest(dag_id=dag_id, result_format=result_format), timeout=_PATIENCE)
    code = await call.code()
    return form if code is grpc.StatusCode.OK else f"{form}: {code.name}"


@asynccontextmanager
async def _watched(channel: grpc.aio.Channel, seconds: list[float]) -> AsyncIterator[None]:
    """Ask for health inside the block, and add how long each answer took."""
    stub: Any = health_pb2_grpc.HealthStub(channel)

    async def watch() -> None:
        while True:
            start = time.monotonic()
            await stub.Check(health_pb2.HealthCheckRequest())
            seconds.append(time.monotonic() - start)
            await asyncio.sleep(_EVERY)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait((watching,))


# In the process of the fake.


def _list_of(make: Callable[[], Any], size: int) -> list[Any]:
    some = [make() for _ in range(_DIFFERENT)]
    return some * (size // len(json.dumps(some, separators=(",", ":"))))


async def _serve(sizes: Sequence[int]) -> None:
    dags = (
        Dag(
            _dag_id(kind, size),
            Task(_TASK),
            script=[steps.finish(_TASK, _list_of(make, size)), steps.end()],
        )
        for size, (kind, make) in product(sizes, KINDS.items())
    )
    await serve(FakeAirflow(*dags))


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
