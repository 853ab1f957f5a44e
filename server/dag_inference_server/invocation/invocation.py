"""One call of a DAG, from its arrival to its result or its error."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from dag_inference.errors import (
    AirflowUnavailable,
    ConfInvalid,
    DagBroken,
    DagInferenceError,
    DagNotFound,
    DagNotTriggerable,
    DeadlineExceeded,
    RequestIdReused,
    RequestInvalid,
    RunCancelled,
    RunDeleted,
    Subject,
    Violation,
)
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from dag_inference_server.airflow import (
    AirflowApi,
    DagRun,
    NotFound,
    Refused,
    RunExists,
    TaskInstance,
)
from dag_inference_server.catalog.catalog import Catalog
from dag_inference_server.catalog.plan import Plan, ResultRule
from dag_inference_server.invocation.call import (
    Accepted,
    Call,
    Listener,
    Outcome,
    ResultFormat,
    ResultReference,
)
from dag_inference_server.invocation.failure import explain, task_failed
from dag_inference_server.invocation.run_ids import RunIds
from dag_inference_server.invocation.stopwatch import Stopwatch
from dag_inference_server.invocation.verdict import (
    Ended,
    Lost,
    Pending,
    Ready,
    Unlisted,
    decide,
)
from dag_inference_server.results.shape import Shaped, shape
from dag_inference_server.results.struct import Json, canonical
from dag_inference_server.watcher import Follower, Snapshot, Watcher

T = TypeVar("T")

_PARAM_REFUSED = re.compile(r"Invalid input for param (?P<name>[^:]+): (?P<why>[^\n]+)")
"""How Airflow says that conf breaks a param (`airflow/sdk/definitions/param.py`, 3.3)."""


class Invocations:
    """Makes runs and waits for them."""

    def __init__(
        self, api: AirflowApi, catalog: Catalog, watcher: Watcher, run_ids: RunIds
    ) -> None:
        """Work on these."""
        self._api = api
        self._catalog = catalog
        self._watcher = watcher
        self._run_ids = run_ids

    async def invoke(self, call: Call, listener: Listener) -> Outcome:
        """Trigger a run and wait for its result.

        Raises:
            DagInferenceError: One of the contract, with the run's id once it exists.
        """
        return await _Invocation(self._api, self._catalog, self._watcher, call, listener).perform(
            self._run_ids.make(call.dag_id, call.request_id)
        )


class _Moved(Exception):
    """What was taken for the result is no longer there: the run goes on."""


@dataclass(slots=True)
class _Invocation:
    """The state of one call."""

    api: AirflowApi
    catalog: Catalog
    watcher: Watcher
    call: Call
    listener: Listener
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    run: DagRun | None = None
    """The run as last seen; `None` until it is known to exist."""
    listed: set[str] = field(default_factory=set)
    """The mapped result tasks of which every instance is known."""

    async def perform(self, run_id: str) -> Outcome:
        timeout = asyncio.timeout(self.call.patience)
        try:
            async with timeout:
                return await self._perform(run_id)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise await self._deadline_exceeded() from None
        except DagInferenceError as error:
            raise self._with_run(error) from error.__cause__

    async def _perform(self, run_id: str) -> Outcome:
        call = self.call
        plan = await self.catalog.plan(call.dag_id, call.result_task_ids)
        with self.watcher.follow(
            call.dag_id, run_id, every_state=self.listener.every_state
        ) as follower:
            attached = await self._make_run(follower, run_id)
            assert self.run is not None
            self.stopwatch.accepted()
            plan = await self._plan_of_run(plan, self.run)
            await self.listener.accepted(Accepted(self.run, attached, plan))
            return await self._wait(plan, follower)

    # The trigger

    async def _make_run(self, follower: Follower, run_id: str) -> bool:
        """Trigger the run; whether it was there already."""
        call = self.call
        try:
            run = await self.api.trigger(call.dag_id, run_id, call.conf, None)
        except RunExists:
            # By an earlier try of this trigger whose answer was lost, or by an earlier
            # call with this request id.
            try:
                run = await self.watcher.refresh(follower, call.dag_id, run_id)
            except NotFound:
                raise RunDeleted(
                    "the run was deleted just after it was made",
                    subject=Subject(call.dag_id, run_id),
                ) from None
            self.run = run
            if canonical(run.conf or {}) != canonical(dict(call.conf)):
                raise RequestIdReused(
                    f"request_id {call.request_id} was used before with another conf"
                ) from None
            return call.request_id is not None
        except NotFound as error:
            raise DagNotFound(
                f"Airflow has no DAG {call.dag_id}", subject=Subject(call.dag_id)
            ) from error
        except Refused as error:
            raise _refusal(call.dag_id, str(error)) from error
        self.run = run
        follower.learn(run)
        return False

    async def _plan_of_run(self, plan: Plan, run: DagRun) -> Plan:
        """The plan for the version that the run was made with, which may be newer."""
        if plan.version == run.version:
            return plan
        if plan.rule in (ResultRule.REQUEST, ResultRule.TAG, ResultRule.SETTING):
            return plan
        return Plan(ResultRule.RUN_END, (), plan.tasks, run.version)

    # The wait

    async def _wait(self, plan: Plan, follower: Follower) -> Outcome:
        snapshot = follower.look()
        while True:
            self.run = snapshot.run or self.run
            self.listener.changed(snapshot)
            try:
                outcome = await self._judge(plan, follower, snapshot)
            except _Moved:
                outcome = None
            if outcome is not None:
                return outcome
            snapshot = await follower.news()

    async def _judge(self, plan: Plan, follower: Follower, snapshot: Snapshot) -> Outcome | None:
        verdict = decide(plan, snapshot, self.listed)
        if isinstance(verdict, Unlisted):
            snapshot = await self._list(follower, verdict.task_id)
            verdict = decide(plan, snapshot, self.listed)
        match verdict:
            case Ready(instances=instances):
                return await self._answer(plan, follower, instances)
            case Lost():
                await self._fail(plan, follower, verdict)
            case Ended():
                return await self._answer_ended(plan, follower)
            case Pending() | Unlisted():
                pass
        return None

    async def _list(self, follower: Follower, task_id: str) -> Snapshot:
        """Learn of every instance of a mapped task: a delta shows only those that ended."""
        instances = await self._until_answered(
            lambda: self.api.task_instances(self.call.dag_id, self._run_id, task_id=task_id)
        )
        follower.learn(instances=instances)
        self.listed.add(task_id)
        return follower.look()

    async def _answer(
        self, plan: Plan, follower: Follower, instances: tuple[TaskInstance, ...]
    ) -> Outcome:
        self.stopwatch.known()
        if self.call.result_format is ResultFormat.REFERENCE:
            return self._outcome(follower, None, instances)
        values: dict[str, Json] = {}
        for instance in instances:
            value = await self._value(follower, instance)
            if plan.is_mapped(instance.task_id):
                in_order = values.setdefault(instance.task_id, [])
                assert isinstance(in_order, list)
                in_order.append(value)
            else:
                values[instance.task_id] = value
        return self._outcome(follower, shape(plan.task_ids, values), instances)

    async def _value(self, follower: Follower, instance: TaskInstance) -> Json:
        """What a task instance returned.

        Raises:
            _Moved: It is no longer the instance that it was, and its value with it: a task
                that starts again first deletes its value, which then reads as null.
        """
        where = (instance.dag_id, instance.run_id, instance.task_id, instance.map_index)
        try:
            value: Json = await self._until_answered(lambda: self.api.value(*where))
        except NotFound:
            value = None
        try:
            again = await self._until_answered(lambda: self.api.task_instance(*where))
        except NotFound:
            follower.forget(instance)
            await self._read_run(follower)
            raise _Moved from None
        if (again.id, again.state) != (instance.id, "success"):
            follower.forget(instance)
            follower.learn(instances=[again])
            raise _Moved
        return value

    async def _answer_ended(self, plan: Plan, follower: Follower) -> Outcome | None:
        """Answer a run that has ended, by what it then says of itself."""
        instances = await self._read_run(follower)
        assert self.run is not None
        if not self.run.is_final:
            return None
        verdict = decide(plan, follower.look(), (*self.listed, *plan.task_ids))
        if isinstance(verdict, Ready):
            return await self._answer(plan, follower, verdict.instances)
        error = explain(plan, self.run, instances)
        if error is not None:
            raise error
        if plan.task_ids:
            raise RunCancelled("the run was ended before its result tasks had run")
        self.stopwatch.known()
        if plan.rule is ResultRule.NONE:
            return self._outcome(follower, shape((), {}), ())
        return await self._answer_by_run(follower)

    async def _answer_by_run(self, follower: Follower) -> Outcome:
        """The results that a run names itself, where nothing was known before."""
        finished = await self._until_answered(
            lambda: self.api.finished_run(self.call.dag_id, self._run_id)
        )
        named = sorted(finished.results)
        results = [i for task_id in named for i in follower.look().of_task(task_id)]
        if self.call.result_format is ResultFormat.REFERENCE:
            return self._outcome(follower, None, tuple(results))
        return self._outcome(follower, shape(named, finished.results), tuple(results))

    async def _fail(self, plan: Plan, follower: Follower, lost: Lost) -> None:
        """Raise the error of a lost result, unless it turns out not to be lost."""
        instances = await self._read_run(follower)
        assert self.run is not None
        again = decide(plan, follower.look(), self.listed)
        if not isinstance(again, Lost | Ended):
            return
        raise explain(plan, self.run, instances) or task_failed(self.run, lost.instance)

    async def _read_run(self, follower: Follower) -> list[TaskInstance]:
        """Read the run by id, and its task instances with it."""
        try:
            self.run = await self._until_answered(
                lambda: self.watcher.refresh(follower, self.call.dag_id, self._run_id)
            )
        except NotFound:
            raise RunDeleted("the run was deleted while the call waited for it") from None
        return list(follower.look().instances.values())

    # Common to all of it

    async def _until_answered(self, read: Callable[[], Awaitable[T]]) -> T:
        """Read again until Airflow answers: the run exists, and only the deadline ends it."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(AirflowUnavailable),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await read()
        raise AssertionError("there is no last attempt")

    def _outcome(
        self, follower: Follower, result: Shaped | None, instances: tuple[TaskInstance, ...]
    ) -> Outcome:
        assert self.run is not None
        run = self.run
        if run.state == "queued" and instances:
            # A task has run, so the run has started; the news of it is not asked for.
            run = run.model_copy(update={"state": "running"})
        references = tuple(ResultReference(i.task_id, i.map_index) for i in instances)
        known = follower.look().instances.values()
        timing = self.stopwatch.timing(run, instances, known)
        return Outcome(run, result, references, timing)

    @property
    def _run_id(self) -> str:
        assert self.run is not None
        return self.run.run_id

    async def _deadline_exceeded(self) -> DeadlineExceeded:
        if self.run is None:
            return DeadlineExceeded(
                "the deadline passed before Airflow had confirmed a run: it may exist or not",
                subject=Subject(self.call.dag_id),
            )
        # That a run has started is no news that a unary call asks for.
        with suppress(TimeoutError, DagInferenceError, NotFound):
            async with asyncio.timeout(self.call.last_look):
                self.run = await self.api.run(self.run.dag_id, self.run.run_id)
        return DeadlineExceeded(
            f"the deadline passed while the run was {self.run.state}",
            subject=Subject(self.run.dag_id, self.run.run_id, self.run.state),
        )

    def _with_run(self, error: DagInferenceError) -> DagInferenceError:
        """The error with the run's id on it, so that the caller can come back."""
        if self.run is not None and error.run_id is None:
            error.subject = Subject(self.run.dag_id, self.run.run_id, self.run.state)
        return error


def _refusal(dag_id: str, detail: str) -> DagInferenceError:
    """What Airflow's refusal of a trigger means. No run was made."""
    subject = Subject(dag_id)
    if found := _PARAM_REFUSED.match(detail):
        violation = Violation(f"conf.{found['name']}", found["why"])
        return ConfInvalid(
            f"{violation.field}: {violation.description}",
            subject=subject,
            violations=[violation],
        )
    if "import errors" in detail:
        return DagBroken(f"the file of {dag_id} has import errors", subject=subject)
    if "does not allow manual runs" in detail:
        return DagNotTriggerable(f"{dag_id} does not allow manual runs", subject=subject)
    first_line = detail.splitlines()[0] if detail else "no reason given"
    return RequestInvalid(f"Airflow refuses the run: {first_line}", subject=subject)
