"""What each DAG is: whether it can run, and where its result comes from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from async_lru import alru_cache
from grpc import StatusCode

from dag_inference.errors import (
    AirflowDenied,
    AirflowUnavailable,
    ConfInvalid,
    DagError,
    DagNotAllowed,
    DagNotFound,
    ResultTaskUnknown,
    Subject,
)
from dag_inference_server.airflow import AirflowApi, Breaker, DagDetails, NotFound
from dag_inference_server.airflow.answer import RETRY_AFTER
from dag_inference_server.catalog.availability import why_not
from dag_inference_server.catalog.conf_check import violations
from dag_inference_server.catalog.plan import Plan, ResultRule, by_structure
from dag_inference_server.catalog.source import declared_results
from dag_inference_server.results.struct import Json

T = TypeVar("T")

_DETAILS_LIVE = 0.9
"""Seconds. Paused and broken have to be known at most a second old at the trigger."""

_STRUCTURE_LIVES = 600.0
"""Seconds. After it was parsed anew, nobody asks for what it was before."""

_READINGS = 3
"""Tries to read a structure between two parses, which are seconds apart at least."""

_KEPT = 1024
"""DAGs."""

_RESULT_TAG = "result:"
_DECLARES_SINCE = (3, 3)
"""The Airflow version that brought `@result`."""


@dataclass(frozen=True, slots=True)
class _Edition:
    """What a structure was read from.

    The version alone does not do: adding `@result` changes the file and makes no new
    version, because the serialized DAG does not hold it.
    """

    dag_id: str
    version: int
    parsed: datetime | None


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a DAG."""

    dag: DagDetails
    plan: Plan | None
    """Where its result comes from; `None` if its tasks are not known."""
    refusal: DagError | ResultTaskUnknown | None
    """Why it cannot be called; `None` if it can."""
    active_runs: int
    """How many of its runs are queued or running."""


class _Reparsed(Exception):
    """The DAG was parsed anew while it was being read."""


class Catalog:
    """Answers what a call needs to know of its DAG, from answers of Airflow that are shared."""

    def __init__(
        self,
        api: AirflowApi,
        breaker: Breaker,
        *,
        serves: Callable[[str], bool],
        result_tasks: Mapping[str, Sequence[str]],
    ) -> None:
        """Start empty.

        Args:
            api: Airflow.
            breaker: Whether Airflow is away; is told of who waits in vain.
            serves: Whether a DAG is served, by its id alone.
            result_tasks: The operator's choice of result tasks by DAG id.
        """
        self._api = api
        self._breaker = breaker
        self._serves = serves
        self._result_tasks = result_tasks
        self._details = alru_cache(maxsize=_KEPT, ttl=_DETAILS_LIVE)(api.dag)
        self._structure = alru_cache(maxsize=_KEPT, ttl=_STRUCTURE_LIVES)(self._read_structure)

    async def plan(self, dag_id: str, requested: Sequence[str] = ()) -> Plan:
        """The plan for a call that is about to trigger its DAG.

        Args:
            dag_id: The DAG.
            requested: The result tasks that the call names, if it does.

        Raises:
            DagNotAllowed: It is not served; Airflow was not asked.
            DagNotFound: No such DAG.
            DagPaused: It is paused.
            DagBroken: Its file has import errors, or it is gone from the file.
            DagNotTriggerable: It allows no runs that are triggered from outside.
            ResultTaskUnknown: A result task is named that it does not have.
            AirflowUnavailable: Airflow does not tell.
            AirflowDenied: Airflow refuses the account.
        """
        details = await self.details(dag_id)
        if refusal := why_not(details):
            raise refusal
        plan, details = await self._own_plan(details)
        plan = self._choose(plan, details, requested)
        _check_known(plan, dag_id)
        return plan

    async def is_callable(self, dag_id: str) -> bool:
        """Whether a DAG can be called: not paused, not broken.

        Raises:
            As `plan`, but for what this says.
        """
        return why_not(await self.details(dag_id)) is None

    async def check_conf(
        self, dag_id: str, conf: Mapping[str, Json], *, is_large: bool = False
    ) -> None:
        """Make sure that a conf fits the DAG's params, as far as can be said before Airflow does.

        Args:
            dag_id: The DAG.
            conf: The conf.
            is_large: Whether the check takes so long that other calls must not wait for it.

        Raises:
            ConfInvalid: It does not, with a violation for each field.
            As `plan`, but for what only forbids a run.
        """
        params = (await self.details(dag_id)).params or {}
        found = (
            await asyncio.to_thread(violations, params, conf)
            if is_large
            else violations(params, conf)
        )
        if found:
            raise ConfInvalid(
                "; ".join(f"{v.field} {v.description}" for v in found[:5]),
                subject=Subject(dag_id),
                violations=found,
            )

    async def plan_for_run(self, dag_id: str, version: int, requested: Sequence[str] = ()) -> Plan:
        """The plan for a run that exists, whether or not its DAG can still be called.

        Args:
            dag_id: The DAG.
            version: The version that the run was made with.
            requested: The result tasks that the call names, if it does.

        Raises:
            As `plan`, but for what would only forbid another run.
        """
        plan, details = await self._own_plan(await self.details(dag_id))
        plan = self._choose(plan, details, requested)
        if plan.version == version:
            _check_known(plan, dag_id)
        return plan.for_version(version)

    async def plan_anew(self, plan: Plan, dag_id: str, version: int) -> Plan:
        """The plan for a run that has just been made with a version that may be another one.

        What the DAG's structure says is read anew: a DAG whose file was changed a moment ago is
        none the less callable for that. Raises what `plan_for_run` does.
        """
        if version == plan.version or plan.is_named:
            return plan.for_version(version)
        self._details.cache_invalidate(dag_id)
        return await self.plan_for_run(dag_id, version)

    async def describe(self, dag_id: str) -> Description:
        """All that a caller may want to know of a DAG; that it cannot be called is no error.

        Raises:
            DagNotAllowed: It is not served; Airflow was not asked.
            DagNotFound: No such DAG.
            AirflowUnavailable: Airflow does not tell.
            AirflowDenied: Airflow refuses the account.
        """
        details = await self.details(dag_id)
        try:
            active_runs = await self._api.active_runs(dag_id)
        except NotFound as error:
            raise DagNotFound(
                f"Airflow no longer has the DAG {dag_id}", subject=Subject(dag_id)
            ) from error
        refusal: DagError | ResultTaskUnknown | None = why_not(details)
        plan = None
        try:
            plan, details = await self._own_plan(details)
            plan = self._choose(plan, details, ())
            _check_known(plan, dag_id)
        except ResultTaskUnknown as error:
            refusal = refusal or error
        except DagNotFound:
            # Airflow tells the tasks of no DAG that it does not find any more.
            if refusal is None:
                raise
        return Description(details, plan, refusal, active_runs)

    def check_served(self, dag_id: str) -> None:
        """Raise `DagNotAllowed` if the DAG is not served; Airflow is not asked."""
        if not self._serves(dag_id):
            raise DagNotAllowed(f"this gateway does not serve {dag_id}", subject=Subject(dag_id))

    async def details(self, dag_id: str) -> DagDetails:
        """What Airflow tells of a DAG, at most a second old.

        Raises:
            As `describe`.
        """
        self.check_served(dag_id)
        self._breaker.check(Subject(dag_id))
        try:
            return await self._shared(self._details(dag_id))
        except NotFound as error:
            raise DagNotFound(f"Airflow has no DAG {dag_id}", subject=Subject(dag_id)) from error

    async def _shared(self, answer: Awaitable[T]) -> T:
        """An answer that others may wait for, too.

        Who stops waiting is told of here: the request goes on as long as anybody waits, and where
        calls come one after another, until it fails by itself.
        """
        since = time.monotonic()
        try:
            return await answer
        except asyncio.CancelledError:
            self._breaker.stopped_waiting(since)
            raise

    async def _own_plan(self, details: DagDetails) -> tuple[Plan, DagDetails]:
        """The plan that the DAG itself makes, and the details that it was made with."""
        subject = Subject(details.dag_id)
        is_newest = True
        for _ in range(_READINGS):
            try:
                if not is_newest:
                    details = await self._api.dag(details.dag_id)
                return await self._shared(self._structure(_edition(details))), details
            except _Reparsed:
                is_newest = False
            except NotFound as error:
                raise DagNotFound(
                    f"Airflow no longer has the DAG {details.dag_id}", subject=subject
                ) from error
        raise AirflowUnavailable(
            f"{details.dag_id} changes faster than it can be read",
            subject=subject,
            retry_after=RETRY_AFTER,
        )

    def _choose(self, plan: Plan, details: DagDetails, requested: Sequence[str]) -> Plan:
        """The first of request, tag and setting that names result tasks; else the DAG's own."""
        tagged = tuple(
            tag.name.removeprefix(_RESULT_TAG)
            for tag in details.tags
            if tag.name.startswith(_RESULT_TAG)
        )
        for rule, named in (
            (ResultRule.REQUEST, tuple(requested)),
            (ResultRule.TAG, tuple(sorted(tagged))),
            (ResultRule.SETTING, tuple(self._result_tasks.get(details.dag_id, ()))),
        ):
            if named:
                return replace(plan, rule=rule, task_ids=named)
        return plan

    async def _read_structure(self, edition: _Edition) -> Plan:
        tasks = {task.task_id: task for task in await self._api.tasks(edition.dag_id)}
        declared = await self._declared(edition, tasks)
        # The tasks are those of the newest version, whichever that is by now.
        if edition != _edition(await self._api.dag(edition.dag_id)):
            raise _Reparsed
        return by_structure(tasks, declared, edition.version)

    async def _declared(
        self, edition: _Edition, tasks: Mapping[str, object]
    ) -> frozenset[str] | None:
        if not await self._api.is_at_least(*_DECLARES_SINCE):
            return frozenset()
        try:
            source = await self._api.source(edition.dag_id, edition.version)
        except (NotFound, AirflowDenied):
            return None
        return declared_results(source or "", edition.dag_id, tasks)


_WHOSE = {
    ResultRule.REQUEST: "the request",
    ResultRule.TAG: "a tag of the DAG",
    ResultRule.SETTING: "the gateway's setting RESULT_TASKS",
}


def _check_known(plan: Plan, dag_id: str) -> None:
    unknown = [task_id for task_id in plan.task_ids if task_id not in plan.tasks]
    if not unknown:
        return
    is_callers = plan.rule is ResultRule.REQUEST
    raise ResultTaskUnknown(
        f"{_WHOSE[plan.rule]} names the result task {unknown[0]}, which {dag_id} does not have",
        subject=Subject(dag_id, task_id=unknown[0]),
        code=StatusCode.INVALID_ARGUMENT if is_callers else StatusCode.FAILED_PRECONDITION,
    )


def _edition(details: DagDetails) -> _Edition:
    return _Edition(details.dag_id, details.version, details.last_parsed_time)
