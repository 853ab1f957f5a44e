"""One call, from its arrival to its result or its error."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from dag_inference.errors import (
    ConfInvalid,
    DagBroken,
    DagInferenceError,
    DagNotTriggerable,
    DagPaused,
    DeadlineExceeded,
    GatewayBug,
    Overloaded,
    RequestInvalid,
    ResultTaskUnknown,
    RunNotFound,
    RunNotOurs,
    ShuttingDown,
    Subject,
)
from dag_inference_server.airflow import (
    AirflowApi,
    DagRun,
    NotFound,
    Values,
    until_answered,
)
from dag_inference_server.catalog.catalog import Catalog
from dag_inference_server.catalog.plan import Plan
from dag_inference_server.ending.attendance import Attendance
from dag_inference_server.ending.end import end_run
from dag_inference_server.ending.notes import cancelled
from dag_inference_server.ending.timeouts import RunTimeouts
from dag_inference_server.invocation.admission import RETRY_AFTER, Admission, Place
from dag_inference_server.invocation.call import (
    Accepted,
    Attachment,
    Call,
    Cancellation,
    Fitting,
    Listener,
    Outcome,
    Translate,
    Wanted,
    what_passed,
)
from dag_inference_server.invocation.flight import Flight
from dag_inference_server.invocation.making import RunMaker
from dag_inference_server.invocation.observer import CALLER_LEFT, DEADLINE_MISSED, Observer
from dag_inference_server.invocation.overdue import Overdue
from dag_inference_server.invocation.reading import Reader, ReadLimits
from dag_inference_server.invocation.report import FailureReports
from dag_inference_server.invocation.run_ids import RunIds
from dag_inference_server.invocation.unconfirmed import unconfirmed
from dag_inference_server.invocation.wait import Wait
from dag_inference_server.watcher import Follower, Watcher

T = TypeVar("T")

_REFUSALS = (
    DagPaused,
    DagBroken,
    DagNotTriggerable,
    ConfInvalid,
    RequestInvalid,
    ResultTaskUnknown,
    Overloaded,
)
"""Why no run is made although the DAG is there and served."""

_AT_ONCE = 100
"""Calls that are cut off together."""


class Invocations:
    """Makes runs and waits for them. Invoke is trigger and wait."""

    def __init__(
        self,
        api: AirflowApi,
        catalog: Catalog,
        watcher: Watcher,
        run_ids: RunIds,
        *,
        values: Values,
        read_limits: ReadLimits,
        reports: FailureReports,
        admission: Admission,
        attendance: Attendance,
        timeouts: RunTimeouts,
        observer: Observer,
        trace_id: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Work on these; `trace_id` tells the trace of the call that it is called for."""
        self._api = api
        self._catalog = catalog
        self._watcher = watcher
        self._run_ids = run_ids
        self._admission = admission
        self._attendance = attendance
        self._timeouts = timeouts
        self._observer = observer
        self._maker = RunMaker(api, watcher, trace_id)
        self._overdue = Overdue(api, admission)
        self._values = values
        self._read_limits = read_limits
        self._reports = reports
        self._flights: set[Flight] = set()

    def stages(self) -> Counter[tuple[str, str]]:
        """How many calls are under way, by DAG and by what they wait for."""
        return Counter((flight.wanted.dag_id, flight.stage) for flight in self._flights)

    def turn_away(self) -> Overloaded | None:
        """The error of a call that is refused before it is read; `None` for one that is not."""
        error = self._admission.turn_away()
        if error is not None:
            self._observer.failed("", error, None)
        return error

    def stream(self) -> AbstractContextManager[None]:
        """Keep a place for a stream of calls, as `Admission.admit_stream`."""
        return self._admission.admit_stream()

    async def end_all(self) -> None:
        """End every call that waits with `ShuttingDown`; the runs go on."""
        self._overdue.close()
        for number, flight in enumerate(tuple(self._flights)):
            if not flight.has_outcome:
                flight.cut_off()
            if number % _AT_ONCE == 0:
                # So that the first have their status before the last are told.
                await asyncio.sleep(0)

    async def invoke(self, call: Call, listener: Listener, translate: Translate[T]) -> T:
        """Trigger a run and wait for its result, of which `translate` makes the answer.

        Raises:
            DagInferenceError: One of the contract, with the run's id once it exists.
        """
        flight = Flight(call, listener)

        async def admitted() -> T:
            with self._admission.admit(call.dag_id) as place:
                return await self._bounded(flight, self._invoke(flight, call, place, translate))

        return await self._observed(flight, admitted())

    async def wait(self, attachment: Attachment, listener: Listener, translate: Translate[T]) -> T:
        """Wait for the result of a run that exists, of which `translate` makes the answer.

        Raises:
            DagInferenceError: One of the contract, with the run's id once it is found.
        """
        flight = Flight(attachment, listener)

        async def admitted() -> T:
            with self._admission.admit_wait(attachment.dag_id, attachment.run_id):
                work = self._attach(flight, attachment, attachment.run_id, translate)
                return await self._bounded(flight, work)

        return await self._observed(flight, admitted())

    async def _observed(self, flight: Flight, work: Awaitable[T]) -> T:
        """Do the work, and tell how it ends if it gives no answer."""
        try:
            return await work
        except DagInferenceError as error:
            self._failed(flight, error)
            raise
        except asyncio.CancelledError:
            # Whoever waits longer than we do has not gone away: our answer is late.
            why = DEADLINE_MISSED if flight.time_left <= 0 else CALLER_LEFT
            self._observer.unanswered(flight.subject, why)
            raise
        except Exception:
            self._failed(flight, GatewayBug("the log says more", subject=flight.subject))
            raise

    def _failed(self, flight: Flight, error: DagInferenceError) -> None:
        timing = flight.timing(error)
        flight.listener.failed(timing)
        self._observer.failed(flight.wanted.dag_id, error, flight.took, timing)

    async def cancel(self, cancellation: Cancellation) -> DagRun:
        """End a run, and give it as it is then.

        Raises:
            DagInferenceError: One of the contract.
        """
        dag_id, run_id = cancellation.dag_id, cancellation.run_id
        subject = self._subject_of_ours(dag_id, run_id)
        self._admission.check_airflow(subject)
        note = cancelled("by request", cancellation.comment)
        try:
            async with asyncio.timeout(cancellation.patience):
                return await end_run(self._api, dag_id, run_id, note)
        except NotFound as error:
            raise _run_not_found(subject) from error
        except TimeoutError:
            passed = what_passed(cancellation.patience, cancellation.limited_by)
            raise DeadlineExceeded(
                f"{passed} before Airflow had confirmed that the run is ended",
                subject=subject,
            ) from None
        except DagInferenceError as error:
            raise error.about(subject) from error

    async def _invoke(self, flight: Flight, call: Call, place: Place, translate: Translate[T]) -> T:
        run_id = self._run_ids.make(call.dag_id, call.request_id)
        fitting = call.fitting
        try:
            if fitting is not None:
                flight.wanted = call = await self._fitted(call, fitting)
                fitting.check(await self._catalog.details(call.dag_id))
            plan = await self._catalog.plan(call.dag_id, call.result_task_ids)
            await self._catalog.check_conf(call.dag_id, call.conf, is_large=call.is_large)
            left = call.patience - flight.stopwatch.elapsed
            self._admission.check_queue(call.dag_id, left)
        except _REFUSALS as error:
            # No new run, but there may be one of an earlier call.
            if call.request_id is None or not await self._maker.was_made(call, run_id):
                if isinstance(error, Overloaded):
                    self._admission.rejections["queue"] += 1
                raise
            place.triggered()
            return await self._attach(flight, call, run_id, translate)
        with (
            self._attendance.attend((call.dag_id, run_id), flight.why_end) as attendee,
            self._watcher.follow(
                call.dag_id, run_id, every_state=flight.listener.every_state
            ) as follower,
        ):
            flight.follower = follower
            flight.stopwatch.admitted()
            making = self._maker.make(flight, run_id, follower, attendee)
            if call.cancel_on_deadline or call.cancel_on_disconnect:
                making = attendee.see_through(making)
            attached = await making
            flight.is_first = not attached
            place.triggered()
            attendee.own()
            assert flight.run is not None
            known, version = plan, flight.run.version
            plan = await until_answered(
                lambda: self._catalog.plan_anew(known, call.dag_id, version)
            )
            outcome = await self._wait(flight, plan, follower, attached=attached)
            if flight.is_first and (queued := outcome.timing.queued) is not None:
                self._admission.was_queued(call.dag_id, queued.total_seconds())
            return await self._answer(flight, outcome, translate)

    async def _fitted(self, call: Call, fitting: Fitting) -> Call:
        dag = await self._catalog.details(call.dag_id)
        if call.is_large:
            return replace(call, conf=await asyncio.to_thread(fitting.conf, dag))
        return replace(call, conf=fitting.conf(dag))

    async def _attach(
        self, flight: Flight, wanted: Wanted, run_id: str, translate: Translate[T]
    ) -> T:
        dag_id = wanted.dag_id
        subject = self._subject_of_ours(dag_id, run_id)
        with (
            self._attendance.attend((dag_id, run_id), flight.why_end) as attendee,
            self._watcher.follow(
                dag_id, run_id, every_state=flight.listener.every_state
            ) as follower,
        ):
            attendee.own()
            flight.run_id, flight.follower = run_id, follower
            flight.stopwatch.admitted()
            try:
                flight.run = await self._watcher.refresh(follower, dag_id, run_id)
            except NotFound as error:
                raise _run_not_found(subject) from error
            plan = await self._catalog.plan_for_run(
                dag_id, flight.run.version, wanted.result_task_ids
            )
            outcome = await self._wait(flight, plan, follower, attached=True)
            return await self._answer(flight, outcome, translate)

    def _subject_of_ours(self, dag_id: str, run_id: str) -> Subject:
        """A run that may be waited for here, as the subject of errors.

        Raises:
            DagNotAllowed: The DAG is not served here.
            RunNotOurs: The run is no gateway's.
        """
        subject = Subject(dag_id, run_id)
        self._catalog.check_served(dag_id)
        if not self._run_ids.is_ours(run_id):
            raise RunNotOurs(
                f"{run_id} is no run id that this gateway gives: {self._run_ids.form}",
                subject=subject,
            )
        return subject

    async def _wait(
        self, flight: Flight, plan: Plan, follower: Follower, *, attached: bool
    ) -> Outcome:
        assert flight.run is not None
        self._timeouts.expect(flight.run)
        flight.stopwatch.accepted(flight.run.queued_at if flight.saw_making else None)
        await flight.listener.accepted(Accepted(flight.run, attached, plan))
        reader = Reader(self._values, self._read_limits)
        wait = Wait(self._api, self._watcher, follower, self._reports, reader, flight, plan)
        try:
            return await wait.outcome()
        finally:
            # As it is known by now: the limit of one that has ended is forgotten.
            self._timeouts.expect(flight.run)

    async def _answer(self, flight: Flight, outcome: Outcome, translate: Translate[T]) -> T:
        """Make the answer. Until it is made, the call is there: its deadline ends its run."""
        known = time.monotonic()
        flight.has_outcome = True
        answer = await translate(outcome)
        self._observer.answered(outcome, timedelta(seconds=time.monotonic() - known))
        return answer

    async def _bounded(self, flight: Flight, work: Awaitable[T]) -> T:
        """Do the work within the caller's patience; every error gets the run's id."""
        self._flights.add(flight)
        try:
            async with flight.patience:
                return await work
        except TimeoutError:
            if not flight.patience.expired():
                raise
            if flight.is_cut_off:
                raise _told(_shutting_down(flight), flight) from None
            raise await self._overdue.error(flight) from None
        except DagInferenceError as error:
            raise _told(error, flight) from error
        finally:
            self._flights.discard(flight)


def _told(error: DagInferenceError, flight: Flight) -> DagInferenceError:
    """The error as this call's."""
    told = error.about(flight.subject)
    told.is_repeatable = flight.is_repeatable
    return told


def _shutting_down(flight: Flight) -> ShuttingDown:
    if flight.run is not None:
        there = "the run goes on"
    elif flight.run_id is not None:
        there = "Airflow had not told of the run"
    else:
        there = unconfirmed(flight) or "Airflow was not asked for a run"
    return ShuttingDown(
        f"the gateway is going away; {there}", subject=flight.subject, retry_after=RETRY_AFTER
    )


def _run_not_found(subject: Subject) -> RunNotFound:
    return RunNotFound(f"Airflow has no run {subject.run_id} of {subject.dag_id}", subject=subject)
