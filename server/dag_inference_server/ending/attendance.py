"""Which calls wait for which run here, and what becomes of a run that all of them have left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import structlog

from dag_inference.errors import (
    AirflowDenied,
    ResultSkipped,
    ResultTooDeep,
    RunCancelled,
    RunDeleted,
    RunTimedOut,
    TaskFailed,
)
from dag_inference_server.airflow import AirflowApi, DagRun, NotFound, until_answered
from dag_inference_server.ending.end import end_run
from dag_inference_server.ending.notes import cancelled

T = TypeVar("T")
RunKey: TypeAlias = tuple[str, str]
"""DAG id and run id."""

log = structlog.get_logger(__name__)

_SETTLED = (TaskFailed, RunCancelled, RunDeleted, RunTimedOut, ResultSkipped, ResultTooDeep)
"""Errors that are the run's own: there is nothing left that cancelling would stop for a caller."""

_AT_ONCE = 2
"""Runs that are ended at once. Ten thousand that are left together must not go before the
results of others."""

_GIVE_UP_AFTER = 600
"""Seconds, from its first turn on, until a run is left alone that cannot be ended."""


class NobodyWaits(Exception):
    """What was to be sent is wanted by nobody any more."""


class _SomebodyWaits(Exception):
    """A run that was to be ended is wanted again."""


@dataclass(slots=True, eq=False)
class _Attended:
    """One run that calls wait for."""

    calls: int = 0
    why: str | None = None
    """Why it is to be ended once nobody waits for it; `None` if it is not."""
    under_way: list[tuple[asyncio.Task[Any], str]] = field(default_factory=list)
    """Triggers that were not answered when their callers left, and why to end what they make."""

    def settle(self) -> None:
        """Keep it: a call has got what there was to get."""
        self.why = None
        for trigger, _ in self.under_way:
            trigger.cancel()
        self.under_way.clear()


class Attendee:
    """One call that waits for a run."""

    def __init__(self, run: _Attended, why: Callable[[], str | None]) -> None:
        """Wait for `run`; `why` says why it is to be ended if this call gives up now."""
        self._run = run
        self._why = why
        self._owns = False
        self.has_left = False
        """Whether the caller went away before its trigger was answered."""

    def own(self) -> None:
        """Take in that the run is the call's own, which it may have ended.

        Until then it can be that of an earlier call with the same request id, and another conf.
        """
        self._owns = True

    async def see_through(self, trigger: Coroutine[Any, Any, T]) -> T:
        """Await a trigger of which the outcome has to be known, also when the caller has left.

        It gives something if the run is the call's own, and raises otherwise.
        """
        task = asyncio.create_task(trigger)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.has_left = True
            why = self._why()
            if why is None:
                task.cancel()
            else:
                self._run.under_way.append((task, why))
                # Whether anybody asks for its outcome depends on who else waits.
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    def check_here(self) -> None:
        """Raise `NobodyWaits` if the caller has left: what is not sent yet need not be."""
        if self.has_left:
            raise NobodyWaits

    def leave(self) -> None:
        """Give up."""
        if self._owns:
            self._run.why = self._why() or self._run.why


class _Patience:
    """How long it is tried to end one run. In a crowd, most of the time others have their turn."""

    def __init__(self) -> None:
        self._until: float | None = None

    def check(self) -> None:
        """Raise `TimeoutError` if the first time is too long ago."""
        now = asyncio.get_running_loop().time()
        self._until = self._until or now + _GIVE_UP_AFTER
        if now > self._until:
            raise TimeoutError


class Attendance:
    """Counts the calls of each run, and ends runs whose callers wanted that when they left."""

    def __init__(self, api: AirflowApi) -> None:
        """Nobody is here."""
        self._api = api
        self._runs: dict[RunKey, _Attended] = {}
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._endings: set[asyncio.Task[None]] = set()
        self._is_closing = False

    @contextmanager
    def attend(self, key: RunKey, why: Callable[[], str | None]) -> Iterator[Attendee]:
        """Wait for a run inside the block.

        Args:
            key: The run, which need not exist yet.
            why: Says why the run is to be ended, if the call gives up just now; `None` to keep it.
        """
        run = self._runs.setdefault(key, _Attended())
        run.calls += 1
        attendee = Attendee(run, why)
        try:
            yield attendee
            run.settle()
        except _SETTLED:
            run.settle()
            raise
        except asyncio.CancelledError:
            attendee.leave()
            raise
        finally:
            run.calls -= 1
            if not run.calls:
                del self._runs[key]
                self._end_if_wanted(key, run)

    def close(self) -> None:
        """Keep the runs of the calls that leave from now on: it is the gateway that leaves."""
        self._is_closing = True

    async def finish(self, seconds: float) -> None:
        """End what is to be ended, for so long; the rest stays as it is."""
        if not self._endings:
            return
        _, late = await asyncio.wait(self._endings, timeout=seconds)
        for ending in late:
            ending.cancel()
        if late:
            log.warning("runs_not_ended", runs=len(late))
            await asyncio.wait(late)

    def _end_if_wanted(self, key: RunKey, run: _Attended) -> None:
        if self._is_closing or (run.why is None and not run.under_way):
            run.settle()
            return
        ending = asyncio.create_task(self._end(key, run))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def _end(self, key: RunKey, run: _Attended) -> None:
        dag_id, run_id = key
        try:
            why = run.why or await self._why_of_triggers(run)
            if why is None:
                return
            patience = _Patience()
            ended = await until_answered(lambda: self._end_once(key, why, patience))
        except (NotFound, _SomebodyWaits):
            return
        except (AirflowDenied, TimeoutError) as error:
            log.warning("run_not_ended", dag_id=dag_id, run_id=run_id, error=str(error))
        except Exception:
            log.exception("run_not_ended", dag_id=dag_id, run_id=run_id)
        else:
            log.info("run_ended", dag_id=dag_id, run_id=run_id, run_state=ended.state, why=why)
        finally:
            # What they have raised holds the call, and so them.
            run.under_way.clear()

    async def _why_of_triggers(self, run: _Attended) -> str | None:
        """Why a run is to be ended that triggers have made after their callers had left."""
        triggers, whys = zip(*run.under_way, strict=True)
        async with asyncio.timeout(_GIVE_UP_AFTER):
            outcomes = await asyncio.gather(*triggers, return_exceptions=True)
        made = (w for o, w in zip(outcomes, whys, strict=True) if not isinstance(o, BaseException))
        return next(made, None)

    async def _end_once(self, key: RunKey, why: str, patience: _Patience) -> DagRun:
        """Try to end a run, unless somebody waits for it meanwhile."""

        def check() -> None:
            if (others := self._runs.get(key)) is not None:
                # When they have left.
                others.why = others.why or why
                raise _SomebodyWaits

        async with self._turn:
            check()
            patience.check()
            return await end_run(self._api, *key, cancelled(f"because {why}"), check=check)
