"""More callers than there are places for, in processes of their own."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks import worker
from benchmarks.calls import connections
from benchmarks.fake.burst import OK, outcome
from benchmarks.fake.throughput import CONF, Span, calls_in
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc

_WORKERS = 2
"""For as many calls as one of them cannot make. Callers who come back are in one, as those of the
peak are: who makes the load has a share of the machine, which must not be another."""

_FULL_AFTER = 2.0
"""Seconds."""

_ARRIVE_IN = 1.0
"""Seconds, in which callers come who then come back: what comes at one instant is a `burst`."""

_REFUSED = "coded RESOURCE_EXHAUSTED"

_PUSHBACK = "grpc-retry-pushback-ms"


@dataclass(frozen=True, slots=True)
class Flood:
    """What became of it."""

    outcomes: Counter[str]
    answered: list[Span]
    """From when to when, of each call that was answered, in seconds from the first call on."""
    refused: list[float]
    """Seconds until each refusal."""
    seconds: float
    """From the first call to the last."""

    @property
    def wrong(self) -> int:
        """Calls that were neither answered nor refused by us."""
        return self.outcomes.total() - self.outcomes[OK] - self.outcomes[_REFUSED]

    @property
    def goodput(self) -> float:
        """Answers a second, once the flood has filled all places, and before it ends."""
        return calls_in(self.answered, _FULL_AFTER, self.seconds) / (self.seconds - _FULL_AFTER)

    @property
    def offered(self) -> float:
        """Calls a second."""
        return self.outcomes.total() / self.seconds

    @property
    def refusals(self) -> float:
        """Refusals a second."""
        return len(self.refused) / self.seconds


async def at_its_own_pace(target: str, dag_id: str, rate: float, seconds: float) -> Flood:
    """So many calls a second, whatever becomes of those before."""
    return await _flood(
        _WORKERS, target=target, dag_id=dag_id, rate=rate / _WORKERS, seconds=seconds
    )


async def as_told(target: str, dag_id: str, callers: int, seconds: float) -> Flood:
    """So many callers, each with one call after the other; who is refused comes back when told."""
    return await _flood(
        1, target=target, dag_id=dag_id, callers=callers, seconds=seconds + _FULL_AFTER
    )


async def _flood(processes: int, **arguments: Any) -> Flood:
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(worker.working(__name__, **arguments))
            for _ in range(processes)
        ]
        seen = await asyncio.gather(*(one.finish() for one in workers))
    outcomes: Counter[str] = Counter()
    for one in seen:
        outcomes.update(one["outcomes"])
    # Started one after the other, they do not begin at quite the same time.
    first = min(one["start"] for one in seen)
    return Flood(
        outcomes,
        [(began - first, ended - first) for one in seen for began, ended in one["answered"]],
        [late for one in seen for late in one["refused"]],
        max(one["end"] for one in seen) - first,
    )


# In the worker itself.


@dataclass
class _Seen:
    """What its calls came to. Times are the clock's of the machine, which all processes share."""

    outcomes: Counter[str] = field(default_factory=Counter)
    answered: list[Span] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    async def call(self, stub: Any, dag_id: str) -> Any:
        """Make one call, and wait for its end."""
        start = time.monotonic()
        call = stub.Invoke(pb.InvokeRequest(dag_id=dag_id, conf=CONF), timeout=60)
        found = await outcome(call)
        self.outcomes[found] += 1
        now = time.monotonic()
        if found == OK:
            self.answered.append((start, now))
        elif found == _REFUSED:
            self.refused.append(now - start)
        return call


async def _work(
    target: str,
    dag_id: str,
    seconds: float,
    rate: float | None = None,
    callers: int | None = None,
) -> dict[str, Any]:
    seen = _Seen()
    async with connections(target) as channels, asyncio.TaskGroup() as group:
        stubs = [rpc.DagInferenceStub(channel) for channel in channels]
        start = time.monotonic()
        if rate is not None:
            await _pour(
                lambda number: group.create_task(seen.call(stubs[number % len(stubs)], dag_id)),
                rate,
                seconds,
            )
        for number in range(callers or 0):
            stub, arrival = stubs[number % len(stubs)], _ARRIVE_IN * number / (callers or 1)
            group.create_task(_come_back(seen, stub, dag_id, arrival, start + seconds))
        end = start + seconds if callers else time.monotonic()
    return {
        "outcomes": seen.outcomes,
        "answered": seen.answered,
        "refused": seen.refused,
        "start": start,
        "end": end,
    }


async def _pour(call: Callable[[int], object], rate: float, seconds: float) -> None:
    start = time.monotonic()
    for number in range(round(rate * seconds)):
        # Those that are due at once go at once.
        ahead = start + number / rate - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        elif time.monotonic() - start > 2 * seconds:
            break
        call(number)
        await asyncio.sleep(0)


async def _come_back(seen: _Seen, stub: Any, dag_id: str, arrival: float, until: float) -> None:
    await asyncio.sleep(arrival)
    while time.monotonic() < until:
        call = await seen.call(stub, dag_id)
        told = dict(await call.trailing_metadata() or ()).get(_PUSHBACK)
        if told is not None:
            await asyncio.sleep(int(told) / 1000)


if __name__ == "__main__":
    worker.say_ready()
    worker.answer(asyncio.run(_work(**worker.arguments())))
