"""Waiting for many runs: one `/wait` stream for each, or one gateway for all of them.

What it costs Airflow's API server, what Airflow's other callers feel of it, and how old the
news is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from benchmarks.gateway import gateway
from benchmarks.real import news
from benchmarks.real.airflow import RealAirflow
from benchmarks.real.parked_calls import parked_calls
from benchmarks.real.runs import trigger_many, unfinished
from benchmarks.real.window import Window, watch
from benchmarks.report import Cell, Report
from benchmarks.samples import p50, p99
from benchmarks.sizes import Sizes
from benchmarks.worker import working

DAG = "parked"

_MAY_RUN = 20
"""The first runs are made at the same time, and any of them may be the one that runs."""


@dataclass(frozen=True, slots=True)
class Watched:
    """How one way of waiting did."""

    how: str
    in_flight: int
    idle: Window
    busy: Window
    checks: float
    """How often in a second the state of some run was looked up."""
    ages: list[float]
    """Seconds that news was old."""
    tick: float
    """Seconds between two looks at a run, p50."""
    broken: int = 0
    """Streams or calls that ended before their run."""
    old_age: float | None = None
    """Seconds that news of an old run was old."""

    @property
    def above_idle(self) -> float:
        """What it costs the API server, in cores."""
        return self.busy.cores - self.idle.cores

    @property
    def cost(self) -> float:
        """CPU of the API server for telling the state of one run once, in milliseconds."""
        return 1000 * self.above_idle / self.checks


@dataclass(slots=True)
class Waiting:
    """Waits in each way, for more and more runs."""

    airflow: RealAirflow
    client: httpx.AsyncClient
    sizes: Sizes
    report: Report
    run_ids: list[str] = field(default_factory=list)
    """The runs that have not ended, the first of them running."""

    async def provide(self, count: int) -> None:
        """See to it that there are so many runs that do not end, and some to be ended."""
        alive = await unfinished(self.client, DAG)
        self.run_ids = [run_id for run_id in self.run_ids if run_id in alive]
        needed = count + self.sizes.news + self.sizes.news_by_wait + _MAY_RUN - len(self.run_ids)
        if needed > 0:
            self.report.say(f"making {needed} runs that do not end …")
            self.run_ids += await trigger_many(self.client, DAG, needed)

    async def idle(self) -> Window:
        """What the API server spends while nobody waits."""
        return await watch(self.airflow, self.sizes.window)

    async def by_wait(self, in_flight: int, interval: float, idle: Window) -> Watched:
        """Hold a `/wait` stream for each run."""
        self.report.say(f"{in_flight} runs by /wait …")
        ended = self.take(self.sizes.news_by_wait)
        async with working(
            "benchmarks.real.wait_streams",
            url=self.airflow.address.url,
            token=self.airflow.token,
            dag_id=DAG,
            run_ids=self.run_ids[:in_flight],
            interval=interval,
        ) as streams:
            busy = await watch(self.airflow, self.sizes.window)
            ages = await news.by_wait(self.client, DAG, ended, interval)
            seen = await streams.finish()
        how = f"/wait, {interval:g} s"
        checks, tick = seen["lines_per_second"], p50(seen["ticks"])
        return Watched(how, in_flight, idle, busy, checks, ages, tick, seen["broken"])

    async def by_gateway(
        self, how: str, in_flight: int, idle: Window, old: str | None = None
    ) -> Watched:
        """Park a `Wait` for each run; one of them may be old, and its news is seen apart."""
        await self.provide(in_flight)
        self.report.say(f"{in_flight} runs by {how} …")
        ended = self.take(self.sizes.news)
        runs = self.run_ids[:in_flight]
        apart = [old] if old else []
        old_age: float | None = None
        with gateway(self.airflow.address) as server:
            async with parked_calls(server.target, DAG, [*runs, *ended, *apart]) as calls:
                busy = await watch(self.airflow, self.sizes.window)
                broken = sum(call.done() for call in calls.values())
                parked = {run_id: calls[run_id] for run_id in ended}
                ages = await news.by_gateway(self.client, DAG, parked)
                if old:
                    (old_age,) = await news.by_gateway(self.client, DAG, {old: calls[old]})
        if len(busy.looks) < 2:
            raise RuntimeError("the API server's log shows no looks of the gateway")
        checks = in_flight / busy.tick
        return Watched(how, in_flight, idle, busy, checks, ages, busy.tick, broken, old_age)

    def take(self, count: int) -> list[str]:
        """Take runs that may be ended: queued ones, of every age."""
        queued = self.run_ids[_MAY_RUN:]
        taken = queued[:: len(queued) // count][:count]
        self.run_ids = [run_id for run_id in self.run_ids if run_id not in taken]
        return taken


COLUMNS = (
    "",
    "in flight",
    "API server, cores",
    "idle",
    "above idle",
    "others p50 s",
    "others p99 s",
    "others refused",
    "waits ended",
    "look every s",
    "news max s",
    "told p50 s",
    "told max s",
    "of old s",
    "CPU ms per status",
    "ratio",
)

NOTE = """API server: CPU of its process and children, in cores. Idle: the same while nobody waits.
Others: GET /dags?limit=1 by somebody else, 10 a second, also while idle, from when it was due.
Look: lines of a /wait stream; the gateway's listings in the API server's log.
Waits ended: streams and calls that did within the window. An API server that is too busy breaks
streams, and lets a running task end because its heartbeats get no answer.
News: how old what the gateway knew was at most, from when a look began until the next one's answer.
Told: from Airflow's answer to the PATCH that fails a queued run until its caller knows, which takes
the gateway three more requests, of runs of every age in this bench. Of old: the same of the one run
that is 30 days old.
CPU per status: above idle / (in flight x looks a second), as if every look reached every run, which
the age of news tells. Ratio: /wait's over the gateway's."""


def row(watched: Watched, other: Watched | None) -> list[Cell]:
    """One line of the table, beside another way of waiting for as many runs."""
    return [
        watched.how,
        watched.in_flight,
        watched.busy.cores,
        watched.idle.cores,
        watched.above_idle,
        p50(watched.busy.others),
        p99(watched.busy.others),
        watched.busy.refused,
        watched.broken,
        watched.tick,
        watched.busy.lag if watched.busy.looks else None,
        p50(watched.ages),
        max(watched.ages),
        watched.old_age,
        watched.cost,
        other.cost / watched.cost if other else None,
    ]


def bars(report: Report, watched: Watched, other: Watched | None) -> None:
    """The promises about the gateway with the most runs in flight."""
    of = f"{watched.how}, {watched.in_flight:,} in flight"
    report.bar(f"{of}: API server above idle", watched.above_idle, 0.25, "cores")
    report.bar(f"{of}: others' p99", p99(watched.busy.others), 0.15, "s")
    report.bar(f"{of}: age of news until told, max", max(watched.ages), 0.3, "s")
    if other:
        cheaper = other.cost / watched.cost
        report.bar(f"{of}: a status cheaper than /wait's", cheaper, 20, "times", at_least=True)
