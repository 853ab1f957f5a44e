"""Requests that the gateway makes to Airflow: while calls are parked, and for each call."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.calls import answer, connections, exists, invoke
from benchmarks.fake.airflow import PARKED, TASK, VALUE, address_of
from benchmarks.gateway import gateway_beside
from benchmarks.report import Cell, Report
from benchmarks.samples import p50
from benchmarks.sizes import Sizes
from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Task

_POLLS = (Kind.RUNS, Kind.INSTANCES)

_WINDOW = 10
"""Seconds in which all calls are parked, from when the last run was made."""

_QUIET = 0.03
"""Seconds without a request that part one look from the next: less than the gateway's shortest
interval, and more than it needs for a look."""

_PATIENCE = 300

COLUMNS = (
    "calls in flight",
    "polls /s",
    "looks /s",
    "per look p50",
    "max",
    "other /s",
    "trigger",
    "value",
    "check",
    "DAG",
    "run",
    "poll at the end",
)

NOTE = f"""Left: while all calls are parked, for {_WINDOW} s from the trigger of the last.
Polls are listings of runs or of task instances; those less than {_QUIET:g} s apart are one look.
Right: requests per call, over its whole life; the last column: polls from when all runs end at \
once until all calls are answered, per call."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What was asked."""

    in_flight: int
    polls: float
    """A second."""
    looks: list[int]
    """How many polls each look took."""
    others: float
    """A second, besides the polls."""
    kinds: Mapping[Kind, int]
    """Over the life of all calls."""
    polls_at_end: int

    def per_call(self, *kinds: Kind) -> float:
        """Requests of some kinds, per call."""
        return sum(self.kinds.get(kind, 0) for kind in kinds) / self.in_flight

    def row(self) -> list[Cell]:
        """Its line of the table."""
        return [
            self.in_flight,
            self.polls,
            len(self.looks) / _WINDOW,
            p50(self.looks),
            max(self.looks),
            self.others,
            self.per_call(Kind.TRIGGER),
            self.per_call(Kind.VALUE),
            self.per_call(Kind.INSTANCE),
            self.per_call(Kind.DAGS, Kind.DAG, Kind.TASKS, Kind.SOURCE),
            self.per_call(Kind.RUN, Kind.RUN_INSTANCES),
            self.polls_at_end / self.in_flight,
        ]


async def measure(sizes: Sizes, report: Report) -> None:
    """Count for few calls in flight and for many."""
    counted = []
    for in_flight in sizes.requests_in_flight:
        report.say(f"requests to Airflow with {in_flight:,} calls in flight …")
        counted.append(await _count(in_flight))
    report.table("Requests to Airflow", COLUMNS, [one.row() for one in counted], NOTE)
    few, many = counted[0], counted[-1]
    what = f"polls per second with {many.in_flight:,} calls in flight, against {few.in_flight}"
    report.bar(what, many.polls / few.polls, 1.1, "times")
    report.bar("polls per look, p50", max(p50(c.looks) for c in counted), 2, "requests")


async def _count(in_flight: int) -> Counted:
    dag = Dag(PARKED, Task(TASK))
    fake = FakeAirflow(dag)
    await fake.start()
    async with (
        gateway_beside(address_of(fake)) as server,
        connections(server.target, 1) as (channel,),
    ):
        fake.asked.clear()
        request = pb.InvokeRequest(dag_id=PARKED)
        call = invoke(channel)
        calls = [call(request, timeout=_PATIENCE) for _ in range(in_flight)]
        await asyncio.gather(*map(exists, calls))
        before = _kinds(fake)
        looks = await _looks(fake)
        parked = _kinds(fake) - before
        for run in dag.made:
            run.finish(TASK, VALUE)
            run.end("success")
        await asyncio.gather(*map(answer, calls))
        kinds = _kinds(fake)
    await fake.stop()
    polls = sum(parked[kind] for kind in _POLLS)
    return Counted(
        in_flight,
        polls / _WINDOW,
        looks,
        (parked.total() - polls) / _WINDOW,
        kinds,
        sum((kinds - before - parked)[kind] for kind in _POLLS),
    )


def _kinds(fake: FakeAirflow) -> Counter[Kind]:
    return Counter(asked.kind for asked in fake.asked)


async def _looks(fake: FakeAirflow) -> list[int]:
    """Watch for the window; how many polls each look of the gateway took."""
    now = asyncio.get_running_loop().time
    end, last, looks = now() + _WINDOW, 0.0, [0]
    seen = fake.count(*_POLLS)
    while now() < end:
        await asyncio.sleep(_QUIET / 10)
        if (count := fake.count(*_POLLS)) != seen:
            if now() - last > _QUIET:
                looks.append(0)
            looks[-1] += count - seen
            seen, last = count, now()
    return looks[1:]
