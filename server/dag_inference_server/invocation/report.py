"""What the error of a failed task tells beyond that it failed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from async_lru import alru_cache
from grpc import StatusCode

from dag_inference.errors import AirflowDenied, AirflowUnavailable, DagInferenceError, TaskFailed
from dag_inference_server.airflow import AirflowApi, NotFound, TaskInstance
from dag_inference_server.invocation.exception import TaskException, exception_in

_WITHIN = 0.3
"""Seconds that an error may be held up to learn what was raised."""

_RESERVE = 0.02
"""Seconds that an error keeps to go out before the call's patience ends."""

_LIVES, _KEPT = 10.0, 1024
"""Seconds that an exception is kept for other calls that wait for the same run, and how many."""


@dataclass(frozen=True, slots=True)
class FailureCodes:
    """Which gRPC codes the operator has chosen for failures, by their names."""

    by_task: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By DAG id and task id."""
    by_exception: Mapping[str, str] = field(default_factory=dict)
    """By the name of the class, without the module or as the log gives it."""

    def of(self, instance: TaskInstance, exception: TaskException | None) -> StatusCode | None:
        """The code for a failed task instance; `None` if none was chosen.

        A choice for the task goes before one for what it raised.
        """
        name = self.by_task.get(instance.dag_id, {}).get(instance.task_id)
        if name is None and exception is not None:
            bare = exception.type.rpartition(".")[2]
            name = self.by_exception.get(exception.type) or self.by_exception.get(bare)
        return StatusCode[name] if name else None


class FailureReports:
    """Completes the errors of failed tasks."""

    def __init__(self, api: AirflowApi, codes: FailureCodes, *, reads_logs: bool) -> None:
        """Choose codes by `codes`, and look for exceptions in logs if `reads_logs`."""
        self._api = api
        self._codes = codes
        self._reads_logs = reads_logs
        # All calls that wait for one run read one log, and a failed reading is not kept.
        self._raised = alru_cache(maxsize=_KEPT, ttl=_LIVES)(self._read)

    async def complete(
        self, error: DagInferenceError, instance: TaskInstance | None, *, time_left: float
    ) -> DagInferenceError:
        """The error with what was raised, and with the code that was chosen for it.

        Args:
            error: Of any kind; only that of a task that has itself failed has more to tell.
            instance: The task instance that it names, if it names one.
            time_left: Seconds until the error has to be ready.
        """
        if not isinstance(error, TaskFailed) or instance is None or instance.state != "failed":
            return error
        exception = await self._exception(instance, min(_WITHIN, time_left - _RESERVE))
        code = self._codes.of(instance, exception)
        if exception is None:
            return TaskFailed(error.message, subject=error.subject, code=code)
        return TaskFailed(
            f"{error.message}: {exception}",
            subject=replace(error.subject, exception_type=exception.type),
            code=code,
        )

    async def _exception(self, instance: TaskInstance, within: float) -> TaskException | None:
        """What a failed task instance raised; `None` if that cannot be learnt in time."""
        if not self._reads_logs or within <= 0 or not instance.try_number:
            return None
        try:
            async with asyncio.timeout(within):
                return await self._raised(instance)
        except (TimeoutError, AirflowDenied, AirflowUnavailable, NotFound):
            return None

    async def _read(self, instance: TaskInstance) -> TaskException | None:
        where = (instance.dag_id, instance.run_id, *instance.key, instance.try_number)
        return exception_in(await self._api.task_log(*where, within=_WITHIN))
