"""What the error of a failed task tells beyond that it failed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from async_lru import alru_cache

from dag_inference.errors import AirflowDenied, AirflowUnavailable, DagInferenceError, TaskFailed
from dag_inference_server.airflow import AirflowApi, NotFound, TaskInstance
from dag_inference_server.invocation.exception import TaskException, exception_in

_WITHIN = 0.3
"""Seconds that an error may be held up to learn what was raised."""

_RESERVE = 0.02
"""Seconds that an error keeps to go out before the call's patience ends."""

_LIVES, _KEPT = 10.0, 1024
"""Seconds that an exception is kept for other calls that wait for the same run, and how many."""


class FailureReports:
    """Completes the errors of failed tasks."""

    def __init__(self, api: AirflowApi, *, reads_logs: bool) -> None:
        """Look for exceptions in logs, if `reads_logs`."""
        self._api = api
        self._reads_logs = reads_logs
        # All calls that wait for one run read one log, and a failed reading is not kept.
        self._raised = alru_cache(maxsize=_KEPT, ttl=_LIVES)(self._read)

    async def complete(
        self, error: DagInferenceError, instance: TaskInstance | None, *, time_left: float
    ) -> DagInferenceError:
        """The error with what was raised.

        Args:
            error: Of any kind; only that of a task that has itself failed has more to tell.
            instance: The task instance that it names, if it names one.
            time_left: Seconds until the error has to be ready.
        """
        if not isinstance(error, TaskFailed) or instance is None or instance.state != "failed":
            return error
        exception = await self._exception(instance, min(_WITHIN, time_left - _RESERVE))
        if exception is None:
            return error
        return TaskFailed(
            f"{error.message}: {exception}",
            subject=replace(error.subject, exception_type=exception.type),
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
