"""Slow rounds by id: old runs, runs that were deleted or missed, runs that cannot start."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

import structlog

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow import AirflowApi, Listings, NotFound, Refused, RunFilter
from dag_inference_server.airflow.answers import FINAL_TASK_STATES
from dag_inference_server.watcher.poll import MARGIN
from dag_inference_server.watcher.runs import TrackedRuns
from dag_inference_server.watcher.tracked import TrackedRun

log = structlog.get_logger(__name__)

_OVERLAP = timedelta(seconds=30)
"""How far each reading of a run reaches back behind the one before."""

_SWEEP_EVERY = 5
"""Of so many rounds, one looks for young runs, too."""

_SHARE = 4
"""A round is followed by a rest of so many times its own length, so that any number of old
runs costs Airflow no more than a part of one request at a time."""


class Rounds:
    """Reads runs by id, some at a time, one request of a kind after the other."""

    def __init__(
        self, api: AirflowApi, listings: Listings, runs: TrackedRuns, *, every: float
    ) -> None:
        """Go round `every` so many seconds."""
        self._api = api
        self._listings = listings
        self._runs = runs
        self._every = every
        self._asked_if_paused: dict[str, datetime] = {}

    async def go_on(self) -> None:
        """Go round, for ever."""
        clock = asyncio.get_running_loop().time
        number, took = 0, 0.0
        while True:
            await asyncio.sleep(max(self._every, took * _SHARE))
            began, number = clock(), number + 1
            try:
                await self._go_round(sweep=number % _SWEEP_EVERY == 0)
            except (AirflowUnavailable, AirflowDenied, NotFound, Refused) as error:
                log.warning("airflow_round_failed", error=str(error))
            except Exception:
                # Nothing that Airflow says may end the rounds.
                log.exception("airflow_round_failed")
            took = clock() - began

    async def _go_round(self, *, sweep: bool) -> None:
        if not self._runs:
            return
        now, chunk = self._listings.now(), await self._listings.chunk()
        for some in _by_dag(self._runs.old(now), chunk):
            await self._read(some)
        if sweep:
            young = (run for run in self._runs.young(now) if run.run is not None)
            if some := sorted(young, key=lambda run: run.read_at)[:chunk]:
                await self._read(some)
            await self._ask_if_paused(now)

    async def _read(self, some: Sequence[TrackedRun]) -> None:
        asked = self._listings.now()
        wanted = RunFilter(
            run_ids=[run.run_id for run in some],
            run_after=min(run.made for run in some) - MARGIN,
            since=min(run.read_at for run in some) - _OVERLAP,
        )
        changes = await self._listings.by_id(
            [run.key for run in some],
            wanted,
            task_states=() if any(run.has_stream for run in some) else FINAL_TASK_STATES,
        )
        self._runs.tell(changes)
        found = {(run.dag_id, run.run_id) for run in changes.runs}
        for run in some:
            run.read_at = asked
            if run.key not in found:
                run.miss()

    async def _ask_if_paused(self, now: datetime) -> None:
        """Ask of one DAG that has runs which do not start: a paused one's never will.

        A paused DAG takes triggers, so that a pause between our check and the trigger
        leaves a run that is queued for ever.
        """
        stuck = defaultdict[str, list[TrackedRun]](list)
        for run in self._runs:
            if run.may_be_stuck and now - run.since > timedelta(seconds=self._every):
                stuck[run.dag_id].append(run)
        self._asked_if_paused = {
            dag_id: asked for dag_id, asked in self._asked_if_paused.items() if dag_id in stuck
        }
        if not stuck:
            return
        dag_id = min(stuck, key=lambda dag_id: self._asked_if_paused.get(dag_id, _NEVER))
        self._asked_if_paused[dag_id] = now
        paused = (await self._api.dag(dag_id)).is_paused
        for run in stuck[dag_id]:
            run.learn_of_pause(paused=paused)


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
