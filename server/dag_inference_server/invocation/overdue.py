"""Calls whose deadlines pass: what their callers are told, and what that tells of the queue."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from dag_inference.errors import DagInferenceError, DeadlineExceeded
from dag_inference_server.airflow import AirflowApi, DagRun, NotFound
from dag_inference_server.invocation.admission import Admission
from dag_inference_server.invocation.call import what_passed
from dag_inference_server.invocation.flight import Flight
from dag_inference_server.invocation.stopwatch import Stopwatch
from dag_inference_server.invocation.unconfirmed import unconfirmed

_AT_ONCE = 4
"""Runs that are looked at together for answers, and as many again for the queue. Many calls whose
deadlines pass together must not keep each other's answers."""


class Overdue:
    """Looks once more at the runs of calls that are over their deadlines."""

    def __init__(self, api: AirflowApi, admission: Admission) -> None:
        """Ask this Airflow; what runs had to wait in the queue matters for admission."""
        self._api = api
        self._admission = admission
        self._last_looks = asyncio.Semaphore(_AT_ONCE)
        self._queue_looks: set[asyncio.Task[None]] = set()

    async def error(self, flight: Flight) -> DeadlineExceeded:
        """What to tell the caller: where its run stands, or whether there is one."""
        passed = what_passed(flight.wanted.patience, flight.wanted.limited_by)
        if flight.run_id is None:
            return DeadlineExceeded(
                f"{passed} before {_what_is_open(flight)}", subject=flight.subject
            )
        await self._look(flight, flight.run_id)
        if flight.run is None:
            return DeadlineExceeded(
                f"{passed} before Airflow had told of the run", subject=flight.subject
            )
        if flight.is_first and self._admission.refuses_hopeless:
            self._look_whether_queued(flight.run, flight.stopwatch)
        ends = flight.wanted.cancel_on_deadline
        more = ", and it is ended unless others wait" if ends else "; Wait goes on with it"
        return DeadlineExceeded(
            f"{passed} while the run was {flight.run.state}{more}", subject=flight.subject
        )

    def close(self) -> None:
        """Look no more at the queue."""
        for task in self._queue_looks:
            task.cancel()

    async def _look(self, flight: Flight, run_id: str) -> None:
        """See where the run stands: that it has started is no news that a unary call asks for.

        Nor is that a task has, which tells what its time went into. Where too many look, the state
        as last seen has to do.
        """
        if not flight.wanted.last_look or self._last_looks.locked():
            return
        where = (flight.wanted.dag_id, run_id)
        with suppress(TimeoutError, DagInferenceError, NotFound):
            async with asyncio.timeout(flight.wanted.last_look):
                async with self._last_looks:
                    flight.run = await self._api.run(*where)
                if flight.run.state != "queued" and flight.follower and not flight.has_started:
                    # Less worth than another call's state.
                    if self._last_looks.locked():
                        return
                    async with self._last_looks:
                        flight.follower.learn(instances=await self._api.task_instances(*where))
                flight.has_looked = True

    def _look_whether_queued(self, run: DagRun, stopwatch: Stopwatch) -> None:
        """Find out, when the caller has its answer, whether its run was still queued then.

        Where every deadline is shorter than the queue, nothing else tells how long that is.
        """

        async def look() -> None:
            with suppress(DagInferenceError, NotFound):
                waited = stopwatch.elapsed
                if (await self._api.run(run.dag_id, run.run_id)).state == "queued":
                    self._admission.was_queued(run.dag_id, waited)

        if len(self._queue_looks) < _AT_ONCE:
            task = asyncio.create_task(look())
            self._queue_looks.add(task)
            task.add_done_callback(self._queue_looks.discard)


def _what_is_open(flight: Flight) -> str:
    """What a call that has no run yet has waited for, and what it does not know."""
    if (open_run := unconfirmed(flight)) is not None:
        return f"Airflow had confirmed a run; {open_run}"
    if flight.has_request_id:
        return (
            "Airflow was asked for a run: there is none, unless an earlier call with its "
            "request_id made it"
        )
    return "Airflow was asked for a run: there is none"
