"""The poll that serves every young run: what has changed since the last look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow import Listings, NotFound, RunFilter
from dag_inference_server.outages import Outages
from dag_inference_server.watcher.observer import WatcherObserver
from dag_inference_server.watcher.pace import Pace, Rest
from dag_inference_server.watcher.runs import TrackedRuns
from dag_inference_server.watcher.tracked import TrackedRun
from dag_inference_server.watcher.window import Window

log = structlog.get_logger(__name__)

_RUNS_EVERY = timedelta(seconds=1)
"""How often runs are listed, beside their task instances, while no call waits for the end of one.
What ends a run early shows in its tasks, and a listing costs Airflow as much as ten results."""

MARGIN = timedelta(seconds=60)
"""How much older than we think a run may be, by the clock of the host that made it."""


class Poll:
    """Looks for changes while young runs are followed, and rests while none is."""

    def __init__(
        self,
        listings: Listings,
        runs: TrackedRuns,
        pace: Pace,
        *,
        kind: str,
        observer: WatcherObserver,
        task_states: Collection[str] = (),
        run_states: Collection[str] = (),
        follows: Callable[[TrackedRun], bool] = lambda _: True,
        named: int = 0,
        every_run: bool = False,
    ) -> None:
        """Prepare.

        Args:
            listings: Where to look.
            runs: Which runs there are.
            pace: How often to look.
            kind: What the observer knows it by.
            observer: Is told of each look.
            task_states: States of task instances that are news; empty for all.
            run_states: States of runs, likewise.
            follows: The runs that this poll is for.
            named: How many runs it names one by one. Beyond, it asks for all of the
                gateway's.
            every_run: Whether each look lists the runs, too, whoever waits for their ends.
        """
        self._listings = listings
        self._runs = runs
        self._pace = pace
        self._kind = kind
        self._observer = observer
        self._task_states = task_states
        self._run_states = run_states
        self._follows = follows
        self._named = named
        self._every_run = every_run
        self._outages = Outages()
        self._work = asyncio.Event()
        self._heard_at: float | None = None

    @property
    def news_age(self) -> float:
        """Seconds since Airflow was last heard; 0 while there is nothing to ask for."""
        if self._heard_at is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._heard_at

    def wake(self) -> None:
        """There is a new run to follow."""
        self._work.set()

    async def go_on(self) -> None:
        """Look, for ever. No answer of Airflow's may end what everybody waits for."""
        window, of_runs = Window(self._listings.now()), Window(self._listings.now())
        clock = asyncio.get_running_loop().time
        failures = 0
        before: float | None = None
        while True:
            self._work.clear()
            began, now = clock(), self._listings.now()
            young = [run for run in self._runs.young(now) if self._follows(run)]
            if not young:
                self._heard_at = None
                self._outages.over(self._kind)
                await self._work.wait()
                window, of_runs = Window(self._listings.now()), Window(self._listings.now())
                failures, before = 0, None
                continue
            self._heard_at = self._heard_at or began
            lists_runs = self._lists_runs(young, of_runs, now)
            heard = await self._look(young, window, of_runs if lists_runs else None, now)
            # The first look of many replaces nothing.
            since = None if before is None else (began - before, clock() - self._heard_at)
            self._observer.looked(self._kind, since, heard=heard)
            before = began
            if heard:
                failures, self._heard_at = 0, began
            else:
                failures += 1
            youngest = now - max(run.made for run in young)
            took = clock() - began
            if lists_runs and not self._always_lists_runs(young):
                # Two listings of about the same cost. That one is longer now and then must not
                # make all news older.
                took /= 2
            rest = self._pace.rest(youngest=youngest.total_seconds(), took=took, failures=failures)
            await self._rest(rest)

    def _always_lists_runs(self, young: Sequence[TrackedRun]) -> bool:
        """Whether the ends of runs are news that somebody waits for."""
        return self._every_run or any(run.matters_as_a_whole for run in young)

    def _lists_runs(self, young: Sequence[TrackedRun], of_runs: Window, now: datetime) -> bool:
        """Whether this look lists runs, beside task instances."""
        # Airflow's clock, or our idea of it, can go back.
        is_due = not timedelta(0) <= now - of_runs.last < _RUNS_EVERY
        return is_due or self._always_lists_runs(young)

    async def _look(
        self, young: Sequence[TrackedRun], window: Window, of_runs: Window | None, now: datetime
    ) -> bool:
        """Look once; whether anything was heard. What was not, the next look asks for again."""
        named = len(young) <= self._named
        wanted = RunFilter(
            run_ids=[run.run_id for run in young] if named else [self._listings.prefix],
            run_after=min(run.made for run in young) - MARGIN,
            since=window.since(now),
        )
        dag_ids = {run.dag_id for run in young}
        try:
            changes = await self._listings.changed(
                dag_ids,
                wanted,
                task_states=self._task_states,
                run_states=self._run_states,
                runs_since=of_runs.since(now) if of_runs else None,
            )
            self._runs.tell(changes)
            for run in changes.runs:
                if run.is_final:
                    self._observer.run_ended(run)
        except (AirflowUnavailable, AirflowDenied, NotFound) as error:
            if self._outages.is_news(self._kind, why := str(error)):
                log.warning("airflow_poll_failed", error=why)
            return False
        except Exception:
            log.exception("airflow_poll_failed")
            return False
        self._outages.over(self._kind)
        if not changes.unheard:
            window.looked(now)
            if of_runs:
                of_runs.looked(now)
        return changes.unheard != dag_ids

    async def _rest(self, rest: Rest) -> None:
        """Rest, and no longer than need be if a new run comes meanwhile."""
        await asyncio.sleep(rest.at_least)
        with suppress(TimeoutError):
            async with asyncio.timeout(rest.at_most - rest.at_least):
                await self._work.wait()
