"""Far more calls than there are places for: how many are answered, how soon others are refused."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks import worker
from benchmarks.calls import connections
from benchmarks.fake.airflow import ANSWERED, fake_airflow
from benchmarks.fake.burst import OK, outcome
from benchmarks.fake.throughput import calls_per_second
from benchmarks.gateway import gateway
from benchmarks.processes import cpu_seconds
from benchmarks.report import Report
from benchmarks.samples import p50, p99
from benchmarks.sizes import Sizes
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc

_TIMES = 5
"""Of the peak."""

_WORKERS = 2

_REFUSED = "coded RESOURCE_EXHAUSTED"

NOTE = """Against a fake Airflow that answers at once. The peak: as many callers as there are places
(MAX_CALLS), each with one call after the other. The flood comes at its own pace, whatever becomes
of the calls before. Whoever makes it takes processor from gateway and fake where there are few."""


@dataclass(frozen=True, slots=True)
class Flood:
    """What became of it."""

    outcomes: Counter[str]
    refused: list[float]
    """Seconds until each refusal."""
    seconds: float
    """From the first call to the last answer."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Find the peak, and flood."""
    report.say("overload …")
    limit = str(sizes.concurrency)
    with fake_airflow() as airflow, gateway(airflow.address, MAX_CALLS=limit) as server:
        pids = {"server": server.pid, "load": os.getpid()}
        peak = await calls_per_second(server.target, sizes, pids)
        spent = cpu_seconds(server.pid)
        flood = await _flood(server.target, _TIMES * peak.calls, sizes.throughput)
        seconds = flood.seconds
        cores = (cpu_seconds(server.pid) - spent) / seconds
    answered = flood.outcomes[OK] / seconds
    offered = flood.outcomes.total() / seconds
    wrong = flood.outcomes.total() - flood.outcomes[OK] - flood.outcomes[_REFUSED]
    refused = flood.refused or [0.0]
    report.table(
        f"Overload: {limit} places",
        (
            "",
            "offered /s",
            "answered /s",
            "relative",
            "refused /s",
            "refused p50 ms",
            "p99 ms",
            "server, cores",
        ),
        [
            ["peak", peak.calls, peak.calls, 1.0, 0.0, None, None, peak.cores["server"]],
            [
                f"{_TIMES} times the peak",
                offered,
                answered,
                answered / peak.calls,
                flood.outcomes[_REFUSED] / seconds,
                1000 * p50(refused),
                1000 * p99(refused),
                cores,
            ],
        ],
        NOTE,
    )
    report.bar("answered under overload", answered / peak.calls, 0.9, "of the peak", at_least=True)
    report.bar("refusals under overload, p99", 1000 * p99(refused), 100, "ms")
    report.bar("calls under overload, neither answered nor refused by us", wrong, 0, "calls")


async def _flood(target: str, rate: float, seconds: float) -> Flood:
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(
                worker.working(__name__, target=target, rate=rate / _WORKERS, seconds=seconds)
            )
            for _ in range(_WORKERS)
        ]
        seen = await asyncio.gather(*(one.finish() for one in workers))
    outcomes: Counter[str] = Counter()
    for one in seen:
        outcomes.update(one["outcomes"])
    # Started one after the other, they do not begin at quite the same time.
    seconds = max(one["end"] for one in seen) - min(one["start"] for one in seen)
    return Flood(outcomes, [late for one in seen for late in one["refused"]], seconds)


# In the worker itself.


async def _pour(target: str, rate: float, seconds: float) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    refused: list[float] = []

    async def one(stub: Any) -> None:
        start = time.monotonic()
        found = await outcome(stub.Invoke(pb.InvokeRequest(dag_id=ANSWERED), timeout=60))
        outcomes[found] += 1
        if found == _REFUSED:
            refused.append(time.monotonic() - start)

    async with connections(target) as channels, asyncio.TaskGroup() as group:
        stubs = [rpc.DagInferenceStub(channel) for channel in channels]
        start = time.monotonic()
        for number in range(round(rate * seconds)):
            # Those that are due at once go at once.
            ahead = start + number / rate - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
            elif time.monotonic() - start > 2 * seconds:
                break
            group.create_task(one(stubs[number % len(stubs)]))
            await asyncio.sleep(0)
    # The clock of the machine, which all its processes share.
    return {"outcomes": outcomes, "refused": refused, "start": start, "end": time.monotonic()}


if __name__ == "__main__":
    worker.say_ready()
    worker.answer(asyncio.run(_pour(**worker.arguments())))
