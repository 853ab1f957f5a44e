"""Knows every run in flight, asks Airflow what changed, wakes the calls.

Why not Airflow's `/wait`: it holds one stream and asks the database once a tick for
every waiter, answers only when the whole run has ended, and has no timeout. One
listing of what changed serves every call here, and its size is what changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from dag_inference_server.airflow import AirflowApi, DagRun, Listings, TaskInstance
from dag_inference_server.airflow.answers import FINAL_RUN_STATES, FINAL_TASK_STATES
from dag_inference_server.together import both
from dag_inference_server.watcher.observer import WatcherObserver
from dag_inference_server.watcher.pace import Pace
from dag_inference_server.watcher.poll import Poll
from dag_inference_server.watcher.rounds import Rounds
from dag_inference_server.watcher.runs import TrackedRuns
from dag_inference_server.watcher.tracked import Follower

_NAMED = 50
"""Runs with streams that are asked for by id: a stream must not list everybody's states."""


class Watcher:
    """One poll for every call in flight, another for streams, and slow rounds by id."""

    def __init__(
        self, api: AirflowApi, listings: Listings, pace: Pace, observer: WatcherObserver
    ) -> None:
        """Know no run yet, and ask at this pace; `observer` is told of each look."""
        self._api = api
        self._listings = listings
        self._runs = TrackedRuns()
        self._ends = Poll(
            listings,
            self._runs,
            pace,
            kind="calls",
            observer=observer,
            task_states=FINAL_TASK_STATES,
            run_states=FINAL_RUN_STATES,
        )
        self._states = Poll(
            listings,
            self._runs,
            pace.slower(2),
            kind="streams",
            observer=observer,
            follows=lambda tracked: tracked.has_stream,
            named=_NAMED,
            every_run=True,
        )
        self._rounds = Rounds(api, listings, self._runs, every=pace.troubled, observer=observer)

    @property
    def tracked(self) -> int:
        """How many runs are followed."""
        return len(self._runs)

    @property
    def news_age(self) -> float:
        """Seconds since Airflow was last heard; 0 while no young run is followed."""
        return self._ends.news_age

    @contextmanager
    def follow(self, dag_id: str, run_id: str, *, every_state: bool) -> Iterator[Follower]:
        """Follow a run, from before it is made until the block is left.

        Args:
            dag_id: The DAG.
            run_id: The run, which need not exist yet.
            every_state: Whether states on the way are wanted, too, for a stream.
        """
        tracked = self._runs.track((dag_id, run_id), self._listings.now())
        follower = Follower(tracked, every_state=every_state)
        self._ends.wake()
        if every_state:
            self._states.wake()
        try:
            yield follower
        finally:
            follower.leave()
            self._runs.drop_if_left(tracked)

    async def refresh(self, follower: Follower, dag_id: str, run_id: str) -> DagRun:
        """Read a run and its task instances by id: how every attach begins.

        It proves that the account may see the run, and finds what ended before.

        Raises:
            NotFound: No such run.
            AirflowUnavailable: Airflow does not tell.
            AirflowDenied: Airflow refuses the account.
        """
        known = list(follower.look().instances)
        run, instances = await self._read(dag_id, run_id)
        if run.is_final and not all(instance.is_final for instance in instances):
            # It ended between the two, or was cleared: they do not belong together.
            run, instances = await self._read(dag_id, run_id)
        follower.replace(run, instances, known)
        return run

    async def _read(self, dag_id: str, run_id: str) -> tuple[DagRun, list[TaskInstance]]:
        return await both(self._api.run(dag_id, run_id), self._api.task_instances(dag_id, run_id))

    async def watch(self) -> None:
        """Poll while runs are in flight, until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._ends.go_on())
            loops.create_task(self._states.go_on())
            loops.create_task(self._rounds.go_on())
