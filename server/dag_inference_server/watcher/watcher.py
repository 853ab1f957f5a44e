"""Knows every run in flight, asks Airflow what changed, wakes the calls.

Why not Airflow's `/wait`: it holds one stream and asks the database once a tick for
every waiter, answers only when the whole run has ended, and has no timeout. One
listing of what changed serves every call here, and its size is what changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

import structlog

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow import AirflowApi, DagRun, NotFound, Refused, TaskInstance
from dag_inference_server.airflow.answers import FINAL_RUN_STATES, FINAL_TASK_STATES
from dag_inference_server.watcher.tracked import Follower, RunKey, TrackedRun, oldest

log = structlog.get_logger(__name__)

_OVERLAP = timedelta(seconds=3)
"""How far each look reaches back behind the one before. Our idea of Airflow's clock is
good to a second, and a row shows up to a quarter of a second after its stamp."""

_LONG_EVERY = timedelta(seconds=15)
_LONG_OVERLAP = timedelta(seconds=30)
"""How often a look reaches back further, and how far behind the one like it before: for rows
that were committed late, and Airflow hosts whose clocks differ."""

_MARGIN = timedelta(seconds=60)
"""How much older than we think a run may be, by the clock of the host that made it."""

_SWEEP_EVERY = 5
"""The interval of the sweep, in longest intervals of the poll."""

_SWEPT = 50
"""Runs that one sweep looks for: their ids have to fit a URL of 8 kB."""

_AGE_SHARE = 0.02
"""The interval in parts of the youngest run's age: a run of 5 s is asked for every 0.1 s, one
of a minute every 1.2 s, unless the bounds say otherwise."""

_STREAM_INTERVAL = 2
"""The interval of the poll for streams, in intervals of the other."""


class Watcher:
    """The one poll that serves every call in flight."""

    def __init__(
        self, api: AirflowApi, *, prefix: str, interval_min: float, interval_max: float
    ) -> None:
        """Know no run yet.

        Args:
            api: Airflow.
            prefix: How the ids of the gateway's runs begin.
            interval_min: Seconds between two looks while a young run is in flight.
            interval_max: Seconds between two looks otherwise, and after bad answers.
        """
        self._api = api
        self._prefix = prefix
        self._interval_min = interval_min
        self._interval_max = interval_max
        self._runs: dict[RunKey, TrackedRun] = {}
        self._streams: set[Follower] = set()
        self._work = asyncio.Event()
        self._stream_work = asyncio.Event()

    @contextmanager
    def follow(self, dag_id: str, run_id: str, *, every_state: bool) -> Iterator[Follower]:
        """Follow a run, from before it is made until the block is left.

        Args:
            dag_id: The DAG.
            run_id: The run, which need not exist yet.
            every_state: Whether states on the way are wanted, too, for a stream.
        """
        key = (dag_id, run_id)
        tracked = self._runs.get(key)
        if tracked is None:
            tracked = self._runs[key] = TrackedRun(key, self._api.now())
        follower = Follower(tracked)
        self._work.set()
        if every_state:
            self._streams.add(follower)
            self._stream_work.set()
        try:
            yield follower
        finally:
            self._streams.discard(follower)
            if follower.leave() and self._runs.get(key) is tracked:
                del self._runs[key]

    async def refresh(self, follower: Follower, dag_id: str, run_id: str) -> DagRun:
        """Read a run and its task instances by id: how every attach begins.

        It proves that the account may see the run, and finds what ended before.

        Raises:
            NotFound: No such run.
            AirflowUnavailable: Airflow does not tell.
            AirflowDenied: Airflow refuses the account.
        """
        run, instances = await asyncio.gather(
            self._api.run(dag_id, run_id), self._api.task_instances(dag_id, run_id)
        )
        follower.learn(run, instances)
        return run

    async def watch(self) -> None:
        """Poll while runs are in flight, until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._watch_ends())
            loops.create_task(self._watch_states())
            loops.create_task(self._sweep_forever())

    async def _watch_ends(self) -> None:
        """The poll for every call: what has ended."""
        await self._poll_forever(
            self._work, lambda: bool(self._runs), 1, FINAL_TASK_STATES, FINAL_RUN_STATES
        )

    async def _watch_states(self) -> None:
        """The poll for streams alone: every change."""
        await self._poll_forever(
            self._stream_work, lambda: bool(self._streams), _STREAM_INTERVAL, (), ()
        )

    async def _sweep_forever(self) -> None:
        """Look for runs by id, some at a time: for deleted ones, and for whatever was missed."""
        while True:
            await asyncio.sleep(_SWEEP_EVERY * self._interval_max)
            known = [tracked for tracked in self._runs.values() if tracked.run is not None]
            try:
                if known:
                    await self._sweep(sorted(known, key=lambda tracked: tracked.swept)[:_SWEPT])
            except (AirflowUnavailable, AirflowDenied, NotFound, Refused) as error:
                log.warning("airflow_sweep_failed", error=str(error))
            except Exception:
                log.exception("airflow_sweep_failed")

    async def _sweep(self, some: list[TrackedRun]) -> None:
        ids = [tracked.key[1] for tracked in some]
        asked = self._api.now()
        run_after = min(tracked.made for tracked in some) - _MARGIN
        since = min(tracked.swept for tracked in some) - _LONG_OVERLAP
        runs, instances = await asyncio.gather(
            self._api.changed_runs(ids, run_after=run_after),
            self._api.changed_task_instances(
                ids, run_after=run_after, since=since, states=FINAL_TASK_STATES
            ),
        )
        self._tell(runs, instances)
        found = {(run.dag_id, run.run_id) for run in runs}
        for tracked in some:
            tracked.swept = asked
            if tracked.key not in found:
                tracked.miss()

    async def _poll_forever(
        self,
        work: asyncio.Event,
        wanted: Callable[[], bool],
        slower: float,
        task_states: Collection[str],
        run_states: Collection[str],
    ) -> None:
        since = long_since = self._api.now()
        failures = 0
        while True:
            if not wanted():
                work.clear()
                await work.wait()
                # What changed while nobody was waiting is nobody's news.
                since = long_since = self._api.now()
            asked = self._api.now()
            long = asked - long_since > _LONG_EVERY
            try:
                reach = long_since - _LONG_OVERLAP if long else since - _OVERLAP
                await self._look(reach, task_states, run_states)
                since, failures = asked, 0
                long_since = asked if long else long_since
            except (AirflowUnavailable, AirflowDenied, NotFound, Refused) as error:
                # The calls wait on: the next look reaches back to the last good one.
                failures += 1
                log.warning("airflow_poll_failed", error=str(error), failures=failures)
            except Exception:
                # No answer of Airflow's may end the one poll that everybody waits for.
                failures += 1
                log.exception("airflow_poll_failed", failures=failures)
            await self._pause(work, self._interval(failures) * slower)

    async def _pause(self, work: asyncio.Event, interval: float) -> None:
        """Sleep for the interval, or for the shortest one if a new run comes meanwhile."""
        work.clear()
        await asyncio.sleep(min(interval, self._interval_min))
        with suppress(TimeoutError):
            async with asyncio.timeout(interval - self._interval_min):
                await work.wait()

    async def _look(
        self, since: datetime, task_states: Collection[str], run_states: Collection[str]
    ) -> None:
        run_after = (oldest(iter(self._runs.values())) or since) - _MARGIN
        runs, instances = await asyncio.gather(
            self._api.changed_runs(
                [self._prefix], since=since, run_after=run_after, states=run_states
            ),
            self._api.changed_task_instances(
                [self._prefix], since=since, run_after=run_after, states=task_states
            ),
        )
        self._tell(runs, instances)

    def _tell(self, runs: Iterable[DagRun], instances: Iterable[TaskInstance]) -> None:
        """Hand the news to the runs that are followed; the rest is other gateways'."""
        news: dict[RunKey, tuple[list[DagRun], list[TaskInstance]]] = {}
        for run in runs:
            news.setdefault((run.dag_id, run.run_id), ([], []))[0].append(run)
        for instance in instances:
            news.setdefault((instance.dag_id, instance.run_id), ([], []))[1].append(instance)
        for key, (of_run, of_tasks) in news.items():
            if tracked := self._runs.get(key):
                tracked.learn(of_run[-1] if of_run else None, of_tasks)

    def _interval(self, failures: int) -> float:
        """Seconds until the next look."""
        if failures:
            return min(self._interval_min * 2.0 ** min(failures, 10), self._interval_max)
        youngest = max((tracked.made for tracked in self._runs.values()), default=None)
        if youngest is None:
            return self._interval_min
        age = (self._api.now() - youngest).total_seconds()
        return min(max(self._interval_min, age * _AGE_SHARE), self._interval_max)
