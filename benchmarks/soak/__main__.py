"""Make a great many calls: `make soak CALLS=1000000`."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

from benchmarks.calls import connections
from benchmarks.gateway import gateway
from benchmarks.processes import KEPT
from benchmarks.report import Cell, Report
from benchmarks.soak.airflow import fake_airflow
from benchmarks.soak.kinds import (
    PLACES,
    SHARES,
    UNAVAILABLE,
    Caller,
    Kind,
    all_places,
    is_wrong,
)
from benchmarks.soak.vitals import Vitals, at_rest

_AT_ONCE = 60
"""Calls in flight."""

_ROUNDS = 10

_FILLS = 5000
"""Calls after which memory grows no more, as a rule."""

_STUCK_AFTER = 120
"""Seconds, for a call or two that belong together: twice what any of them may take."""

_DRIFT = 10
"""Percent of the memory after the warm-up."""

_SPARE = 5
"""Descriptors, and tasks, by which two quiet moments may differ."""

_TROUBLED = 5
"""Percent of the calls: a little more than the share of the time in which Airflow stumbles."""


def main() -> None:
    """Soak, and exit with 1 if something does not hold."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("calls", type=int, nargs="?", default=1_000_000)
    calls = parser.parse_args().calls
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = Report()
    try:
        asyncio.run(_soak(calls, report))
    finally:
        report.conclude(KEPT / "soak.json")
    sys.exit(not all(bar.holds for bar in report.bars))


async def _soak(calls: int, report: Report) -> None:
    """Calls in rounds; after each, when none is under way, what the gateway holds."""
    dice, ends = random.Random(1), Ends()  # noqa: S311 - no secret
    # The first calls fill pools and caches.
    warm_up = max(calls // 10, min(calls // 2, _FILLS))
    rounds = [warm_up, *[(calls - warm_up) // _ROUNDS] * _ROUNDS]
    rows: list[list[Cell]] = []
    seen: list[Vitals] = []
    places = str(PLACES)
    with (
        fake_airflow() as airflow,
        gateway(airflow.address, MAX_CALLS_PER_DAG=places) as server,
    ):
        async with connections(server.target) as channels:
            callers = [Caller(channel) for channel in channels]
            for made in rounds:
                start = time.monotonic()
                async with all_places(callers[0]):
                    await _make(made, callers, dice, ends)
                rate = made / (time.monotonic() - start)
                seen.append(await at_rest(server.pid, server.target))
                rows.append([f"{ends.total:,}", rate, *seen[-1].cells()])
                report.say(f"{ends.total:,} calls, {ends.wrong} wrong, {rate:.0f} /s, {seen[-1]}")
    report.table(
        "What the gateway holds when no call is under way",
        ("after so many calls", "calls /s", *Vitals.COLUMNS),
        rows,
        f"The first row is the warm-up. {_AT_ONCE} calls at once, of all kinds.",
    )
    _tell_kinds(ends, report)
    _check(seen, report)
    report.bar("calls that did not end", ends.stuck, 0, "calls")
    report.bar("calls that ended in another way than they had to", ends.wrong, 0, "calls")
    troubled = 100 * ends.troubled / ends.total
    report.bar("calls that Airflow's trouble ended", troubled, _TROUBLED, "%")
    report.bar("the same, so that there was some", ends.troubled, 1, "calls", at_least=True)


def _check(seen: Sequence[Vitals], report: Report) -> None:
    """What has to hold after every round, by the one in which it held least."""
    first = seen[0]

    def most(measure: Callable[[Vitals], float]) -> float:
        return max(map(measure, seen))

    against = "at most, against the warm-up"
    memory, apart = most(lambda v: v.memory), most(lambda v: v.apart)
    report.bar(f"memory {against}", 100 * memory / first.memory, 100 + _DRIFT, "%")
    report.bar(f"memory apart {against}", 100 * apart / first.apart, 100 + _DRIFT, "%")
    files, tasks = most(lambda v: v.files) - first.files, most(lambda v: v.tasks) - first.tasks
    report.bar("open descriptors more than after the warm-up", files, _SPARE, "")
    report.bar("tasks more than after the warm-up", tasks, _SPARE, "")
    report.bar("calls in flight when none is", most(lambda v: v.calls), 0, "calls")
    report.bar("RPCs that were started and not handled", most(lambda v: v.rpcs), 0, "RPCs")
    report.bar("runs that are followed for nobody", most(lambda v: v.runs), 0, "runs")
    report.bar("RPCs that ended as a bug would end them", most(lambda v: v.bugs), 0, "RPCs")


class Ends:
    """How calls ended."""

    def __init__(self) -> None:
        """None has."""
        self.counts: Counter[tuple[Kind, str]] = Counter()
        self.stuck = 0

    @property
    def total(self) -> int:
        """Calls so far."""
        return self.counts.total()

    @property
    def wrong(self) -> int:
        """Those that ended in another way than they had to."""
        return sum(n for (kind, end), n in self.counts.items() if is_wrong(kind, end))

    @property
    def troubled(self) -> int:
        """Those that were ended by Airflow's trouble."""
        return sum(n for (_, end), n in self.counts.items() if end == UNAVAILABLE)


async def _make(count: int, callers: Sequence[Caller], dice: random.Random, ends: Ends) -> None:
    """Make so many calls, some at a time."""
    kinds = iter(dice.choices([*SHARES], [*SHARES.values()], k=count))

    async def go_on(caller: Caller) -> None:
        for kind in kinds:
            try:
                async with asyncio.timeout(_STUCK_AFTER):
                    end = await kind(caller)
            except TimeoutError:
                ends.stuck += 1
                end = "none"
            except Exception as error:
                end = repr(error)[:200]
            ends.counts[kind, end] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(_AT_ONCE):
            group.create_task(go_on(callers[number % len(callers)]))


def _tell_kinds(ends: Ends, report: Report) -> None:
    rows: list[list[Cell]] = [
        [kind.__name__.replace("_", " "), end, count, "wrong" if is_wrong(kind, end) else ""]
        for (kind, end), count in sorted(
            ends.counts.items(), key=lambda item: (item[0][0].__name__, item[0][1])
        )
    ]
    report.table("How the calls ended", ("kind", "end", "calls", ""), rows, "A wrong end fails it.")


if __name__ == "__main__":
    main()
