"""Slow rounds by id: old runs, runs that were deleted or missed, runs that cannot start."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice

import structlog

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow import AirflowApi, Listings, NotFound, RunFilter
from dag_inference_server.airflow.answers import FINAL_TASK_STATES
from dag_inference_server.airflow.api import ANY
from dag_inference_server.outages import Outages
from dag_inference_server.watcher.observer import WatcherObserver
from dag_inference_server.watcher.poll import MARGIN
from dag_inference_server.watcher.runs import TrackedRuns
from dag_inference_server.watcher.tracked import TrackedRun

log = structlog.get_logger(__name__)

_OVERLAP = timedelta(seconds=30)
"""How far each reading of a run reaches back behind the one before."""

_SWEEP_EVERY = 5
"""Of so many rounds, one looks for young runs, too."""

_ROUND = "round"
"""What is told to fail, whichever part of it does."""

_SMALLEST = 10
"""Runs that are read at once while it is not known how many may be."""


class Rounds:
    """Reads runs by id, some at a time, one request of a kind after the other."""

    def __init__(
        self,
        api: AirflowApi,
        listings: Listings,
        runs: TrackedRuns,
        *,
        every: float,
        observer: WatcherObserver,
    ) -> None:
        """Go round `every` so many seconds."""
        self._api = api
        self._listings = listings
        self._runs = runs
        self._every = every
        self._observer = observer
        self._asked_if_paused: dict[str, datetime] = {}
        self._outages = Outages()

    async def go_on(self) -> None:
        """Go round, for ever."""
        clock = asyncio.get_running_loop().time
        number, took, before = 0, 0.0, clock()
        while True:
            # Any number of old runs is read half of the time at most.
            await asyncio.sleep(max(self._every, took))
            began, number = clock(), number + 1
            if self._runs:
                heard = await self._go_round(sweep=number % _SWEEP_EVERY == 0)
                since = (began - before, clock() - before)
                self._observer.looked("rounds", since, heard=heard)
            took, before = clock() - began, began

    async def _go_round(self, *, sweep: bool) -> bool:
        """Read what there is to read; what fails keeps nothing else from being read.

        Whether nothing failed.
        """
        now, chunk, failures = self._listings.now(), _SMALLEST, list[Exception]()
        all_heard = True
        with self._logged(failures):
            chunk = await self._listings.chunk()
        for some in _by_dag(self._runs.old(now), chunk):
            with self._logged(failures):
                all_heard &= await self._read(some, every_run=sweep)
        if sweep:
            young = (run for run in self._runs.young(now) if run.run is not None)
            with self._logged(failures):
                some = sorted(young, key=lambda run: run.read_at)[:chunk]
                all_heard &= await self._read(some, every_run=True)
            with self._logged(failures):
                all_heard &= await self._ask_if_paused(now, chunk)
        if sweep and not failures:
            # Others may have had nothing to ask.
            self._outages.over(_ROUND)
        return all_heard and not failures

    async def _read(self, some: Sequence[TrackedRun], *, every_run: bool) -> bool:
        """Read what has changed of some runs, and whether they still exist if `every_run`.

        Whether all of it was heard.
        """
        if not some:
            return True
        asked = self._listings.now()
        wanted = RunFilter(
            run_ids=[run.run_id for run in some],
            run_after=min(run.made for run in some) - MARGIN,
            since=min(asked, *(run.read_at for run in some)) - _OVERLAP,
        )
        changes = await self._listings.by_id(
            [run.key for run in some],
            wanted,
            task_states=() if any(run.has_stream for run in some) else FINAL_TASK_STATES,
            every_run=every_run,
            runs_too=any(run.matters_as_a_whole or run.has_stream for run in some),
        )
        self._runs.tell(changes)
        found = {(run.dag_id, run.run_id) for run in changes.runs}
        for run in some:
            if changes.unheard & {run.dag_id, ANY}:
                continue
            run.read_at = asked
            if every_run and run.key not in found:
                run.miss()
        return not changes.unheard

    async def _ask_if_paused(self, now: datetime, chunk: int) -> bool:
        """Ask of one DAG that has runs which do not start: a paused one's never will.

        A paused DAG takes triggers, so that a pause between our check and the trigger
        leaves a run that is queued for ever. Whether all of it was heard.
        """
        stuck = defaultdict[str, list[TrackedRun]](list)
        for run in self._runs:
            if run.may_be_stuck and now - run.since > timedelta(seconds=self._every):
                stuck[run.dag_id].append(run)
        self._asked_if_paused = {
            dag_id: asked for dag_id, asked in self._asked_if_paused.items() if dag_id in stuck
        }
        if not stuck:
            return True
        dag_id = min(stuck, key=lambda dag_id: self._asked_if_paused.get(dag_id, _NEVER))
        self._asked_if_paused[dag_id] = now
        if not (await self._api.dag(dag_id)).is_paused:
            return True
        # That a run has started is no news that unary calls ask for: most may well have.
        some = sorted(stuck[dag_id], key=lambda run: run.read_at)[:chunk]
        if not await self._read(some, every_run=True):
            return False
        for run in some:
            if run.may_be_stuck:
                run.get_stuck()
        return True

    @contextmanager
    def _logged(self, failures: list[Exception]) -> Iterator[None]:
        """Nothing that Airflow says may end the rounds."""
        try:
            yield
        except (AirflowUnavailable, AirflowDenied, NotFound) as error:
            failures.append(error)
            if self._outages.is_news(_ROUND, why := str(error)):
                log.warning("airflow_round_failed", error=why)
        except Exception as error:
            failures.append(error)
            log.exception("airflow_round_failed")


_NEVER = datetime.min.replace(tzinfo=UTC)


def _by_dag(runs: Iterable[TrackedRun], chunk: int) -> Iterator[list[TrackedRun]]:
    """The runs in chunks, each of one DAG."""
    by_dag = defaultdict[str, list[TrackedRun]](list)
    for run in runs:
        by_dag[run.dag_id].append(run)
    for of_dag in by_dag.values():
        left = iter(of_dag)
        while some := list(islice(left, chunk)):
            yield some
