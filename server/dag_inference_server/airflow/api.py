"""The requests that the gateway makes, one method each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from airflow_client.client import (
    DAGApi,
    DagRunApi,
    DAGRunPatchBody,
    DagSourceApi,
    ExperimentalApi,
    TaskApi,
    TaskInstanceApi,
    TriggerDAGRunPostBody,
    VersionApi,
    XComApi,
)

from dag_inference.errors import AirflowUnavailable
from dag_inference_server.airflow.answers import (
    DagDetails,
    DagRun,
    DagRunPage,
    DagSource,
    FinishedRun,
    Task,
    TaskCollection,
    TaskInstance,
    TaskInstancePage,
    Version,
    XComEntry,
)
from dag_inference_server.airflow.transport import RETRY_AFTER, Answer, Operation, Transport

PAGE = 100
"""Airflow's own limit of a page, `[api] maximum_page_limit`."""

ANY = "~"
"""Airflow's name for every DAG, or every run."""

RESULT_KEY = "return_value"
"""The XCom key of what a task returns."""


_NO_SUCH_DAG = "dag_inference_check_no_such_dag"


class NotFound(Exception):
    """Airflow has no such thing, or hides it from the account."""


class RunExists(Exception):
    """The DAG has a run of that id already."""


class Refused(Exception):
    """Airflow understood the request and will not do it. The message is Airflow's."""


class AirflowApi:
    """Airflow's API as the gateway uses it.

    Every method raises `AirflowUnavailable` when there is no answer, or none of
    Airflow's API, and `AirflowDenied` when the account is refused. All but the
    polls repeat a few times first.
    """

    def __init__(self, transport: Transport) -> None:
        """Use `transport` for every request."""
        self._transport = transport
        client = transport.client
        self._dags = DAGApi(client)
        self._runs = DagRunApi(client)
        self._sources = DagSourceApi(client)
        self._tasks = TaskApi(client)
        self._task_instances = TaskInstanceApi(client)
        self._waits = ExperimentalApi(client)
        self._versions = VersionApi(client)
        self._xcoms = XComApi(client)

    @property
    def url(self) -> str:
        """Where Airflow answers, without `/api/v2`."""
        return self._transport.url

    def now(self) -> datetime:
        """The time by Airflow's clock, good to about a second."""
        return self._transport.now()

    async def version(self) -> str:
        """Airflow's version, which it tells anybody."""
        answer = await self._send(self._versions.get_version_without_preload_content)
        return answer.read(Version).version

    async def prove_account(self) -> None:
        """Make a request that only an account may make.

        Raises:
            AirflowDenied: The account is refused.
        """
        await self._send(self._dags.get_dags_without_preload_content, limit=1)

    async def prove_may_trigger(self) -> None:
        """Ask for what only an account that may trigger runs is refused as "not found".

        Raises:
            AirflowDenied: The account may not.
        """
        with suppress(NotFound):
            await self.trigger(_NO_SUCH_DAG, _NO_SUCH_DAG, {}, None)

    async def prove_may_read_values(self) -> None:
        """Ask for what only an account that may read XComs is refused as "not found".

        Raises:
            AirflowDenied: The account may not.
        """
        with suppress(NotFound):
            await self.value(_NO_SUCH_DAG, _NO_SUCH_DAG, _NO_SUCH_DAG, -1)

    async def dag(self, dag_id: str) -> DagDetails:
        """The newest version of a DAG, paused or broken included.

        Raises:
            NotFound: No such DAG.
        """
        answer = await self._send(self._dags.get_dag_details_without_preload_content, dag_id)
        return answer.read(DagDetails)

    async def tasks(self, dag_id: str) -> tuple[Task, ...]:
        """The tasks of the newest version of a DAG.

        Raises:
            NotFound: No such DAG.
        """
        answer = await self._send(self._tasks.get_tasks_without_preload_content, dag_id)
        return answer.read(TaskCollection).tasks

    async def source(self, dag_id: str, version: int) -> str | None:
        """The text of the file that a version of a DAG was made from.

        Raises:
            NotFound: It is not kept.
        """
        answer = await self._send(
            self._sources.get_dag_source_without_preload_content,
            dag_id,
            version_number=version or None,
            accept="application/json",
        )
        return answer.read(DagSource).content

    async def trigger(
        self, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str | None
    ) -> DagRun:
        """Make a run. Safe to repeat, because the caller chose the run id.

        Raises:
            NotFound: No such DAG.
            RunExists: The run is there already, perhaps by an earlier try of this.
            Refused: Airflow will not make it: conf against params, broken DAG.
        """
        body = TriggerDAGRunPostBody(
            dag_run_id=run_id, logical_date=None, conf=dict(conf), note=note
        )
        answer = await self._send(self._runs.trigger_dag_run_without_preload_content, dag_id, body)
        return answer.read(DagRun)

    async def run(self, dag_id: str, run_id: str) -> DagRun:
        """A run as it is now.

        Raises:
            NotFound: No such run.
        """
        answer = await self._send(self._runs.get_dag_run_without_preload_content, dag_id, run_id)
        return answer.read(DagRun)

    async def end_run(self, dag_id: str, run_id: str, note: str) -> DagRun:
        """Mark a run failed, which ends it; its teardowns still run.

        Raises:
            NotFound: No such run.
        """
        answer = await self._send(
            self._runs.patch_dag_run_without_preload_content,
            dag_id,
            run_id,
            DAGRunPatchBody(state="failed", note=note),
            update_mask=["state", "note"],
        )
        return answer.read(DagRun)

    async def task_instance(
        self, dag_id: str, run_id: str, task_id: str, map_index: int
    ) -> TaskInstance:
        """One task instance as it is now; `map_index` -1 for one that is not mapped.

        Raises:
            NotFound: No such task instance.
        """
        if map_index < 0:
            answer = await self._send(
                self._task_instances.get_task_instance_without_preload_content,
                dag_id,
                run_id,
                task_id,
            )
        else:
            answer = await self._send(
                self._task_instances.get_mapped_task_instance_without_preload_content,
                dag_id,
                run_id,
                task_id,
                map_index,
            )
        return answer.read(TaskInstance)

    async def task_instances(
        self,
        dag_id: str,
        run_id: str,
        *,
        task_id: str | None = None,
        states: Collection[str] = (),
    ) -> list[TaskInstance]:
        """The task instances of one run, of one task if named, in the states if any.

        Raises:
            NotFound: No such run.
        """
        return await self._task_instance_pages(
            self._send, dag_id, run_id, task_id=task_id, state=list(states) or None
        )

    async def changed_task_instances(
        self, prefix: str, *, since: datetime, run_after: datetime, states: Collection[str] = ()
    ) -> list[TaskInstance]:
        """What changed of the task instances of the gateway's runs. Not repeated.

        Args:
            prefix: How the run ids begin; Airflow before 3.2 takes no notice.
            since: Only what was written then or later, by Airflow's clock.
            run_after: Only of runs made then or later: the one selective index.
            states: Only in these states; in any when empty.
        """
        return await self._task_instance_pages(
            self._send_once,
            ANY,
            ANY,
            run_id_prefix_pattern=prefix,
            updated_at_gte=since,
            run_after_gte=run_after,
            state=list(states) or None,
        )

    async def changed_runs(
        self, prefix: str, *, since: datetime, run_after: datetime, states: Collection[str] = ()
    ) -> list[DagRun]:
        """What changed of the gateway's runs, as `changed_task_instances`."""

        async def page(offset: int) -> DagRunPage:
            answer = await self._send_once(
                self._runs.get_dag_runs_without_preload_content,
                ANY,
                run_id_prefix_pattern=prefix,
                updated_at_gte=since,
                run_after_gte=run_after,
                state=list(states) or None,
                limit=PAGE,
                offset=offset,
            )
            return answer.read(DagRunPage)

        runs: list[DagRun] = []
        while True:
            found = (await page(len(runs))).dag_runs
            runs += found
            if len(found) < PAGE:
                return runs

    async def value(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Any:
        """What a task instance returned, as JSON.

        Raises:
            NotFound: It returned `None`, or has not returned yet.
        """
        answer = await self._send(
            self._xcoms.get_xcom_entry_without_preload_content,
            dag_id,
            task_id,
            run_id,
            RESULT_KEY,
            map_index=map_index,
            stringify=False,
        )
        return answer.read(XComEntry).value

    async def finished_run(self, dag_id: str, run_id: str) -> FinishedRun:
        """What a run that has ended says of its results. Waits for one that has not.

        A lower bound: a result task that failed, was skipped or returned `None`
        is missing, and so is everything the account may not read.

        Raises:
            NotFound: No such run.
        """
        answer = await self._send(
            self._waits.wait_dag_run_until_finished_without_preload_content,
            dag_id,
            run_id,
            1,
        )
        lines = answer.body.strip().splitlines()
        if not lines:
            raise AirflowUnavailable("Airflow's wait ended without a word", retry_after=RETRY_AFTER)
        return Answer(answer.status, lines[-1]).read(FinishedRun)

    async def _task_instance_pages(
        self,
        send: Callable[..., Awaitable[Answer]],
        dag_id: str,
        run_id: str,
        **filters: Any,
    ) -> list[TaskInstance]:
        instances: list[TaskInstance] = []
        while True:
            answer = await send(
                self._task_instances.get_task_instances_without_preload_content,
                dag_id,
                run_id,
                limit=PAGE,
                offset=len(instances),
                **filters,
            )
            page = answer.read(TaskInstancePage).task_instances
            instances += page
            if len(page) < PAGE:
                return instances

    async def _send(self, operation: Operation, *args: Any, **kwargs: Any) -> Answer:
        return _accepted(await self._transport.send(partial(operation, *args, **kwargs)))

    async def _send_once(self, operation: Operation, *args: Any, **kwargs: Any) -> Answer:
        return _accepted(await self._transport.send_once(partial(operation, *args, **kwargs)))


def _accepted(answer: Answer) -> Answer:
    """The answer, if it is one that grants what was asked."""
    if answer.status < 300:
        return answer
    detail = answer.detail
    if not detail:
        # A proxy in between, or a wrong address: Airflow always says why.
        raise AirflowUnavailable(
            f"what answers {answer.status} is not Airflow's API", retry_after=RETRY_AFTER
        )
    match answer.status:
        case 404:
            raise NotFound(detail)
        case 409:
            raise RunExists(detail)
        case _:
            raise Refused(detail)
