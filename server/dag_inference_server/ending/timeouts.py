"""Ends runs that outlive their `run_timeout`, whoever made them and whether anybody waits.

How long a run may take stands in its note. What a gateway does not know because it was made by
another one, or before a restart, it finds by looking through all unfinished runs now and then.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow import (
    AirflowApi,
    DagRun,
    Listings,
    NotFound,
    UnfinishedRuns,
    until_answered,
)
from dag_inference_server.ending.attendance import RunKey
from dag_inference_server.ending.notes import limit_in, timed_out, trace_in, traced
from dag_inference_server.together import together

log = structlog.get_logger(__name__)

_LOOK_EVERY = 60
"""Seconds."""

_AT_ONCE = 4
"""Runs that are ended at once."""

_AGAIN_AFTER = timedelta(seconds=1)
_AGAIN_AFTER_DENIAL = timedelta(minutes=5)


class RunTimeouts:
    """Knows until when runs may go on."""

    def __init__(self, api: AirflowApi, listings: Listings, unfinished: UnfinishedRuns) -> None:
        """Know of none."""
        self._api = api
        self._listings = listings
        self._unfinished = unfinished
        self._due: dict[RunKey, datetime] = {}
        """By Airflow's clock."""
        self._next: datetime | None = None
        """What is waited for; `None` for nothing."""
        self._news = asyncio.Event()

    def expect(self, run: DagRun) -> None:
        """Take in a run as it is now."""
        key, due = (run.dag_id, run.run_id), _due(run)
        if due is None:
            self._due.pop(key, None)
        elif self._due.get(key) != due:
            self._due[key] = due
            if self._next is None or due < self._next:
                self._news.set()

    async def go_on(self) -> None:
        """End what is due, for ever."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._keep_looking())
            loops.create_task(self._keep_ending())

    async def _keep_looking(self) -> None:
        missed: set[RunKey] = set()
        while True:
            known = set(self._due)
            try:
                unfinished = await until_answered(self._unfinished.find)
            except (AirflowDenied, NotFound) as error:
                log.warning("run_timeouts_of_others_unknown", error=str(error))
            except Exception:
                # Nothing that Airflow says may end what everybody waits for.
                log.exception("run_timeouts_of_others_unknown")
            else:
                for run in unfinished.runs:
                    self.expect(run)
                # One that ends while the pages are read can hide another: not by one look alone.
                seen = {(run.dag_id, run.run_id) for run in unfinished.runs}
                gone = {key for key in known - seen if unfinished.tells_of(key[0])}
                for key in gone & missed:
                    self._due.pop(key, None)
                missed = gone
            await asyncio.sleep(_LOOK_EVERY)

    async def _keep_ending(self) -> None:
        while True:
            self._news.clear()
            now = self._listings.now()
            over = sorted((due, key) for key, due in self._due.items() if due <= now)[:_AT_ONCE]
            if over:
                await together(self._end(key) for _, key in over)
                continue
            self._next = min(self._due.values(), default=None)
            wait = self._next - now if self._next else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait.total_seconds() if wait else None):
                    await self._news.wait()

    async def _end(self, key: RunKey) -> None:
        """End a run if it is due indeed: it can have ended, or have been cleared."""
        dag_id, run_id = key
        try:
            run = await self._api.run(dag_id, run_id)
            limit, due = limit_in(run.note), _due(run)
            if limit is None or due is None:
                self._due.pop(key, None)
            elif due > self._listings.now():
                self._due[key] = due
            else:
                note = traced(timed_out(limit), trace_in(run.note)) or ""
                await self._api.end_run(dag_id, run_id, note)
                self._due.pop(key, None)
                log.info("run_timed_out", dag_id=dag_id, run_id=run_id)
        except NotFound:
            self._due.pop(key, None)
        except AirflowUnavailable:
            self._due[key] = self._listings.now() + _AGAIN_AFTER
        except AirflowDenied as error:
            log.warning("run_not_ended", dag_id=dag_id, run_id=run_id, error=str(error))
            self._due[key] = self._listings.now() + _AGAIN_AFTER_DENIAL
        except Exception:
            log.exception("run_not_ended", dag_id=dag_id, run_id=run_id)
            self._due[key] = self._listings.now() + _AGAIN_AFTER_DENIAL


def _due(run: DagRun) -> datetime | None:
    """When a run is to be ended; `None` if it has ended, or has no limit."""
    limit = limit_in(run.note)
    if limit is None or run.is_final:
        return None
    return (run.queued_at or run.run_after) + limit
