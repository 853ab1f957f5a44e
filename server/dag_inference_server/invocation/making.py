"""Makes the run of a call: one, whatever becomes of the trigger's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from dag_inference.errors import (
    AirflowDenied,
    AirflowUnavailable,
    DagNotFound,
    RequestIdReused,
    RunDeleted,
    Subject,
)
from dag_inference_server.airflow import (
    AirflowApi,
    DagRun,
    NotFound,
    Refused,
    RunExists,
    until_answered,
)
from dag_inference_server.ending.attendance import Attendee
from dag_inference_server.ending.notes import limited, traced
from dag_inference_server.invocation.call import Call
from dag_inference_server.invocation.flight import Flight
from dag_inference_server.invocation.refusal import refusal
from dag_inference_server.invocation.unconfirmed import unconfirmed
from dag_inference_server.results.conf import canonical
from dag_inference_server.watcher import Follower, Watcher

_SKEW = timedelta(minutes=1)
"""How much Airflow's clock may be behind ours."""


class RunMaker:
    """Triggers runs whose ids were chosen before."""

    def __init__(
        self, api: AirflowApi, watcher: Watcher, trace_id: Callable[[], str | None]
    ) -> None:
        """Use these; `trace_id` tells the trace of the call that it is called for."""
        self._api = api
        self._watcher = watcher
        self._trace_id = trace_id

    async def make(
        self, flight: Flight, run_id: str, follower: Follower, attendee: Attendee
    ) -> bool:
        """Trigger the run of a flight; whether a call before this one had made it already.

        Raises:
            RequestIdReused: It had, for another conf.
            DagInferenceError: Another of the contract: there is no run, or it may exist or not.
        """
        call = flight.wanted
        assert isinstance(call, Call)
        subject = Subject(call.dag_id)

        flight.asked_for = run_id
        try:
            flight.run = await self._api.trigger(
                call.dag_id,
                run_id,
                call.conf,
                is_large=call.is_large,
                note=traced(
                    limited(call.run_timeout) if call.run_timeout else None, self._trace_id()
                ),
                check=attendee.check_here,
                doubt=flight.doubt,
            )
        except RunExists as error:
            # By an earlier try of this trigger whose answer was lost, or by an earlier
            # call with this request id, whose conf may be another.
            if call.request_id is None:
                flight.run_id = run_id
            await self._take(flight, call, run_id, follower)
            return _is_of_before(flight, error.was_repeated)
        except NotFound as error:
            raise DagNotFound(f"Airflow has no DAG {call.dag_id}", subject=subject) from error
        except Refused as error:
            # It looks at the DAG before it looks for the run.
            if not await self.was_made(call, run_id):
                raise refusal(call.dag_id, str(error)) from error
            await self._take(flight, call, run_id, follower)
            return _is_of_before(flight, error.was_repeated)
        except AirflowUnavailable as error:
            # Nobody is there to be told. Whether there is a run that is to be ended is still open.
            if attendee.has_left and await self.was_made(call, run_id):
                return False
            if (open_run := unconfirmed(flight)) is None:
                raise
            raise AirflowUnavailable(
                f"{error.message}; {open_run}", subject=subject, retry_after=error.retry_after
            ) from error
        except AirflowDenied as error:
            # An earlier try may have got through all the same.
            if (open_run := unconfirmed(flight)) is None:
                raise
            raise AirflowDenied(f"{error.message}; {open_run}", subject=subject) from error
        flight.run_id, flight.saw_making = run_id, True
        follower.learn(flight.run)
        return False

    async def was_made(self, call: Call, run_id: str) -> bool:
        """Whether the run exists, by this call or one before it; asks until Airflow tells.

        Raises:
            RequestIdReused: It does, for another conf.
        """
        try:
            run = await until_answered(lambda: self._api.run(call.dag_id, run_id))
        except NotFound:
            return False
        await _check_same(call, run)
        return True

    async def _take(self, flight: Flight, call: Call, run_id: str, follower: Follower) -> None:
        """Go on with a run that exists."""
        try:
            run = await until_answered(lambda: self._watcher.refresh(follower, call.dag_id, run_id))
        except NotFound as error:
            # The call's own run is not known yet to be this one: nobody else names it.
            raise RunDeleted(
                "the run was deleted just after it was made",
                subject=Subject(call.dag_id, run_id),
            ) from error
        await _check_same(call, run)
        flight.run_id, flight.run = run_id, run


def _is_of_before(flight: Flight, was_repeated: bool) -> bool:
    """Whether its run was there before the call came in.

    Of a trigger whose answer was lost, the repeat finds a run that is its own, most likely; not one
    that is older, by clocks that may differ a little.
    """
    queued_at = flight.run.queued_at if flight.run else None
    is_old = queued_at is not None and queued_at < flight.stopwatch.arrived_at - _SKEW
    return is_old or not was_repeated


async def _check_same(call: Call, run: DagRun) -> None:
    """Make sure that a run was made for the call's own conf.

    Raises:
        RequestIdReused: It was not.
    """
    if call.request_id is None:
        return

    def is_same() -> bool:
        conf = run.conf or {}
        if canonical(conf) == canonical(dict(call.conf)):
            return True
        return call.fitting is not None and call.fitting.can_mean(conf)

    if not (await asyncio.to_thread(is_same) if call.is_large else is_same()):
        raise RequestIdReused(
            f"request_id {call.request_id} was used before with another conf",
            subject=Subject(run.dag_id, run.run_id, run.state),
        )
