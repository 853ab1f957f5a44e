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
from benchmarks.fake.airflow import ANSWERED, LASTING, fake_airflow
from benchmarks.fake.burst import OK, outcome
from benchmarks.fake.throughput import calls_per_second
from benchmarks.gateway import gateway
from benchmarks.processes import cpu_seconds
from benchmarks.report import Cell, Report
from benchmarks.samples import p50, p99
from benchmarks.sizes import Sizes
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc

_TIMES = 5
"""Of the peak."""

_WORKERS = 2

_FULL_AFTER = 2.0
"""Seconds."""

_REFUSED = "coded RESOURCE_EXHAUSTED"

_BOUND_BY = {"the DAG, a second long": LASTING, "the gateway's core": ANSWERED}
"""What bounds the peak: how long runs take, as with every real Airflow, or the gateway itself."""

NOTE = """The peak: as many callers as there are places (MAX_CALLS), each with one call after the
other. The flood comes at its own pace, whatever becomes of the calls before. Where runs take a
second, they bound the peak; against a fake Airflow that answers at once, the gateway's own core
does, and each refusal takes of it what a third of a call does: no bar is set there. Whoever makes
the flood takes processor from gateway and fake where there are few, and does not reach its pace."""


@dataclass(frozen=True, slots=True)
class Flood:
    """What became of it."""

    outcomes: Counter[str]
    answered: list[float]
    """When each answer came, in seconds from the first call on."""
    refused: list[float]
    """Seconds until each refusal."""
    seconds: float
    """From the first call to the last."""

    @property
    def wrong(self) -> int:
        """Calls that were neither answered nor refused by us."""
        return self.outcomes.total() - self.outcomes[OK] - self.outcomes[_REFUSED]

    def figures(self, peak: float) -> tuple[float, float, float, float, float, float]:
        """Calls a second, offered, answered, of the peak, and refused; refusals' p50, p99 in ms."""
        offered, refused = (
            count / self.seconds for count in (self.outcomes.total(), self.outcomes[_REFUSED])
        )
        # Once the flood has filled all places, and before it ends.
        answered = sum(_FULL_AFTER < when < self.seconds for when in self.answered)
        goodput = answered / (self.seconds - _FULL_AFTER)
        late = self.refused or [0.0]
        return offered, goodput, goodput / peak, refused, 1000 * p50(late), 1000 * p99(late)


async def measure(sizes: Sizes, report: Report) -> None:
    """Find the peak, and flood, for each of what may bound it."""
    report.say("overload …")
    limit = str(sizes.concurrency)
    rows: list[list[Cell]] = []
    with fake_airflow() as airflow:
        for bound, dag_id in _BOUND_BY.items():
            with gateway(airflow.address, MAX_CALLS=limit) as server:
                pids = {"server": server.pid, "load": os.getpid()}
                peak = await calls_per_second(server.target, sizes, pids, dag_id)
                spent = cpu_seconds(server.pid)
                rate = _TIMES * peak.calls
                flood = await _flood(server.target, dag_id, rate, sizes.throughput)
                cores = (cpu_seconds(server.pid) - spent) / flood.seconds
            rows += [
                [f"peak of {bound}", *[peak.calls] * 2, 1.0, 0.0, None, None, peak.cores["server"]],
                [f"{_TIMES} times that", *flood.figures(peak.calls), cores],
            ]
            if dag_id == LASTING:
                _, _, share, _, _, late = flood.figures(peak.calls)
                report.bar("answered under overload", share, 0.9, "of the peak", at_least=True)
                report.bar("refusals under overload, p99", late, 100, "ms")
            report.bar(
                f"calls beyond {bound}, neither answered nor refused by us", flood.wrong, 0, "calls"
            )
    columns = (
        "",
        "offered /s",
        "answered /s",
        "relative",
        "refused /s",
        "refused p50 ms",
        "p99 ms",
    )
    report.table(f"Overload: {limit} places", (*columns, "server, cores"), rows, NOTE)


async def _flood(target: str, dag_id: str, rate: float, seconds: float) -> Flood:
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(
                worker.working(
                    __name__, target=target, dag_id=dag_id, rate=rate / _WORKERS, seconds=seconds
                )
            )
            for _ in range(_WORKERS)
        ]
        seen = await asyncio.gather(*(one.finish() for one in workers))
    outcomes: Counter[str] = Counter()
    for one in seen:
        outcomes.update(one["outcomes"])
    # Started one after the other, they do not begin at quite the same time.
    first = min(one["start"] for one in seen)
    return Flood(
        outcomes,
        [when - first for one in seen for when in one["answered"]],
        [late for one in seen for late in one["refused"]],
        max(one["end"] for one in seen) - first,
    )


# In the worker itself.


async def _pour(target: str, dag_id: str, rate: float, seconds: float) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    answered: list[float] = []
    refused: list[float] = []

    async def one(stub: Any) -> None:
        start = time.monotonic()
        found = await outcome(stub.Invoke(pb.InvokeRequest(dag_id=dag_id), timeout=60))
        outcomes[found] += 1
        now = time.monotonic()
        if found == OK:
            answered.append(now)
        elif found == _REFUSED:
            refused.append(now - start)

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
        end = time.monotonic()
    # The clock of the machine, which all its processes share.
    return {
        "outcomes": outcomes,
        "answered": answered,
        "refused": refused,
        "start": start,
        "end": end,
    }


if __name__ == "__main__":
    worker.say_ready()
    worker.answer(asyncio.run(_pour(**worker.arguments())))
