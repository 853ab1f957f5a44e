"""Far more calls than there are places for: how many are answered, how soon others are refused."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TypeAlias

from benchmarks.fake.airflow import ANSWERED, LASTING, FakeProcess, fake_airflow
from benchmarks.fake.flood import Flood, as_told, at_its_own_pace
from benchmarks.fake.throughput import Rate, calls_per_second
from benchmarks.gateway import gateway
from benchmarks.processes import cpu_seconds
from benchmarks.report import Cell, Report
from benchmarks.samples import p50, p99
from benchmarks.sizes import Sizes

_TIMES = 5
"""Of the peak, or of the callers who reach it."""

_PLACES = 32
"""Calls that keep the gateway's core busy. More of them only wait for each other, and refusals wait
for them all, which the case with more shows."""

_FLOODS = 3
"""Of each case, with a peak before each and after the last: a machine that becomes slower, or
faster, does so for both."""

NOTE = f"""The peak: as many callers as there are places (MAX_CALLS), each with one call after the
other, in turns with {_FLOODS} floods. Where runs take a second, they bound it, as with every real
Airflow; against a fake Airflow that answers at once, the gateway's own core does. At their own
pace: five times the calls, whatever becomes of those before. As told: five times the callers, of
whom each comes back when its refusal says. Where the core is what bounds, each refusal takes of it
what a third of a call does: no bar is set for callers there who are told to come back later and do
not listen. Who makes the flood takes processor from gateway and fake where there are few, and does
not reach its pace."""


Flooding: TypeAlias = Callable[[str, str, float, Sizes], Awaitable[Flood]]
"""By target, DAG, calls a second at the peak, and sizes."""


def _at_pace(target: str, dag_id: str, peak: float, sizes: Sizes) -> Awaitable[Flood]:
    return at_its_own_pace(target, dag_id, _TIMES * peak, sizes.throughput)


def _as_told(target: str, dag_id: str, _: float, sizes: Sizes) -> Awaitable[Flood]:
    return as_told(target, dag_id, _TIMES * sizes.concurrency, sizes.throughput)


@dataclass(frozen=True, slots=True)
class _Case:
    """What bounds the peak, how the flood comes, and whether there is a bar for it."""

    bound: str
    dag_id: str
    manner: str
    flood: Flooding
    has_bar: bool = True
    places: int = _PLACES
    """`MAX_CALLS`, and as many callers make the peak."""


_CASES = (
    _Case("the DAG, a second long", LASTING, "at their own pace", _at_pace, places=50),
    _Case(f"the gateway's core, {_PLACES} calls", ANSWERED, "as told", _as_told),
    _Case("the gateway's core, 50 calls", ANSWERED, "as told", _as_told, False, 50),
    _Case(f"the gateway's core, {_PLACES} calls", ANSWERED, "at their own pace", _at_pace, False),
)


async def measure(sizes: Sizes, report: Report) -> None:
    """Find the peak, and flood, for each of what may bound it."""
    report.say("overload …")
    rows: list[list[Cell]] = []
    with fake_airflow() as airflow:
        for case in _CASES:
            places = min(case.places, sizes.concurrency)
            rows += await _overload(case, airflow, replace(sizes, concurrency=places), report)
    columns = (
        "",
        "places",
        "offered /s",
        "answered /s",
        "relative",
        "refused /s",
        "refused p50 ms",
        "p99 ms",
    )
    report.table("Overload", (*columns, "server, cores"), rows, NOTE)


async def _overload(
    case: _Case, airflow: FakeProcess, sizes: Sizes, report: Report
) -> list[list[Cell]]:
    peaks, floods, cores = list[Rate](), list[Flood](), list[float]()
    with gateway(airflow.address, MAX_CALLS=str(sizes.concurrency)) as server:
        pids = {"server": server.pid, "load": os.getpid()}
        peaks.append(await calls_per_second(server.target, sizes, pids, case.dag_id))
        for _ in range(_FLOODS):
            spent = cpu_seconds(server.pid)
            floods.append(await case.flood(server.target, case.dag_id, peaks[-1].calls, sizes))
            cores.append((cpu_seconds(server.pid) - spent) / floods[-1].seconds)
            peaks.append(await calls_per_second(server.target, sizes, pids, case.dag_id))
    peak = fmean(each.calls for each in peaks)
    offered = fmean(each.offered for each in floods)
    goodput = fmean(each.goodput for each in floods)
    refusals = fmean(each.refusals for each in floods)
    late = [each for came in floods for each in came.refused] or [0.0]
    share, what = goodput / peak, f"beyond {case.bound}, {case.manner}"
    if case.flood is _at_pace and case.has_bar:
        report.bar(f"offered {what}", offered / peak, 4.5, "times", at_least=True)
    if case.has_bar:
        report.bar(f"answered {what}", share, 0.9, "of the peak", at_least=True)
        report.bar(f"refused {what}, p99", 1000 * p99(late), 100, "ms")
    wrong = sum(came.wrong for came in floods)
    report.bar(f"neither answered nor refused by us {what}", wrong, 0, "calls")
    reached = [peak, peak, 1.0, 0.0, None, None, fmean(each.cores["server"] for each in peaks)]
    flooded = [offered, goodput, share, refusals, 1000 * p50(late), 1000 * p99(late), fmean(cores)]
    return [
        [f"peak of {case.bound}", sizes.concurrency, *reached],
        [f"{_TIMES} times that, {case.manner}", sizes.concurrency, *flooded],
    ]
