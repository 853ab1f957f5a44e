"""What Airflow tells of many runs at once, with the filters that its version has.

All by GET: the POST that lists by ids writes an audit row for every call. None is
repeated: the watcher asks again anyway, and knows when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from airflow_client.client import DagRunApi, TaskInstanceApi

from dag_inference.errors import AirflowDenied
from dag_inference_server.airflow.answers import DagRun, DagRunPage, TaskInstance, TaskInstancePage
from dag_inference_server.airflow.api import ANY, AirflowApi
from dag_inference_server.airflow.pages import all_pages
from dag_inference_server.airflow.statuses import NotFound, granted
from dag_inference_server.airflow.transport import Lane, ModelT, Operation, Transport

log = structlog.get_logger(__name__)

_PREFIXES_SINCE = (3, 2, 2)
"""The version that brought `run_id_prefix_pattern`, which can name several runs. Airflow takes
no notice of a parameter that it does not know, so that only the version tells."""

_CHUNK, _CHUNK_ONE_BY_ONE = 50, 10
"""Runs that one reading by id may name: their ids have to fit a URL of 8 kB, and where they are
read one by one, each costs two requests."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Of which runs, and since when."""

    run_ids: Collection[str]
    """How their ids begin, any of them. Before Airflow 3.2.2, others are listed, too."""
    run_after: datetime
    """Only those made then or later: over all DAGs, the one selective index."""
    since: datetime
    """Only task instances, and runs in some states, that were written then or later, by
    Airflow's clock."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Runs and task instances as they are now."""

    runs: Sequence[DagRun] = ()
    instances: Sequence[TaskInstance] = ()

    def __add__(self, other: Changes) -> Changes:
        """Both."""
        return Changes((*self.runs, *other.runs), (*self.instances, *other.instances))


class Listings:
    """Lists runs and task instances. Raises as `AirflowApi` does."""

    def __init__(self, api: AirflowApi, transport: Transport, *, prefix: str) -> None:
        """List runs of Airflow whose ids begin with `prefix`."""
        self.prefix = prefix
        self._api = api
        self._transport = transport
        self._runs = DagRunApi(transport.client).get_dag_runs_without_preload_content
        self._instances = TaskInstanceApi(
            transport.client
        ).get_task_instances_without_preload_content
        self._refuses_all_dags = False

    def now(self) -> datetime:
        """The time by Airflow's clock, or a moment before."""
        return self._transport.clock.now()

    async def may_list_all_dags(self) -> bool:
        """Whether the account is granted listings over all DAGs, which cost least."""
        now = self.now()
        filters = await self._filters(RunFilter([self.prefix], run_after=now, since=now))
        try:
            await self._listing(ANY, filters, filters)
        except AirflowDenied:
            return False
        return True

    async def chunk(self) -> int:
        """How many runs `by_id` may be asked for at once."""
        return _CHUNK if await self._can_name_runs() else _CHUNK_ONE_BY_ONE

    async def changed(
        self,
        dag_ids: Collection[str],
        wanted: RunFilter,
        *,
        task_states: Collection[str],
        run_states: Collection[str],
    ) -> Changes:
        """What has changed to one of these states; to any, if empty.

        Args:
            dag_ids: The DAGs that matter. Others are listed, too, unless the account is
                refused a listing over all DAGs.
            wanted: The runs that matter.
            task_states: States of task instances.
            run_states: States of runs.
        """
        filters = await self._filters(wanted)
        of_runs = {**filters, "updated_at_gte": wanted.since, "state": list(run_states) or None}
        of_tasks = {**filters, "updated_at_gte": wanted.since, "state": list(task_states) or None}
        return await self._of_all(dag_ids, of_runs, of_tasks)

    async def by_id(
        self,
        keys: Collection[tuple[str, str]],
        wanted: RunFilter,
        *,
        task_states: Collection[str],
    ) -> Changes:
        """Runs by id, whatever their state, and which of their task instances have changed.

        A run that is missing in the answer is gone, or hidden from the account.

        Args:
            keys: DAG ids and run ids, at most `chunk`.
            wanted: The same runs, and since when their task instances matter.
            task_states: States of task instances.
        """
        if not await self._can_name_runs():
            return await self._one_by_one(keys, task_states)
        filters = await self._filters(wanted)
        of_tasks = {**filters, "updated_at_gte": wanted.since, "state": list(task_states) or None}
        dag_ids = {dag_id for dag_id, _ in keys}
        if len(dag_ids) > 1:
            return await self._of_all(dag_ids, filters, of_tasks)
        # DAG and run id together are an index, however old the runs are.
        return await self._of_dag(dag_ids.pop(), filters, of_tasks)

    async def _one_by_one(
        self, keys: Collection[tuple[str, str]], task_states: Collection[str]
    ) -> Changes:
        changes = Changes()
        for dag_id, run_id in keys:
            try:
                run = await self._api.run(dag_id, run_id)
                instances = await self._api.task_instances(dag_id, run_id, states=task_states)
            except NotFound:
                continue
            changes += Changes([run], instances)
        return changes

    async def _of_all(
        self, dag_ids: Collection[str], of_runs: dict[str, Any], of_tasks: dict[str, Any]
    ) -> Changes:
        """One listing over all DAGs, or one for each where the account may not have that."""
        if not self._refuses_all_dags:
            try:
                return await self._listing(ANY, of_runs, of_tasks)
            except AirflowDenied:
                log.warning("airflow_refuses_all_dags", dags=len(dag_ids))
                self._refuses_all_dags = True
        changes = Changes()
        for dag_id in sorted(dag_ids):
            changes += await self._of_dag(dag_id, of_runs, of_tasks)
        return changes

    async def _of_dag(
        self, dag_id: str, of_runs: dict[str, Any], of_tasks: dict[str, Any]
    ) -> Changes:
        try:
            return await self._listing(dag_id, of_runs, of_tasks)
        except (AirflowDenied, NotFound) as error:
            # The calls hear of it when their runs are read; those of other DAGs go on.
            log.warning("airflow_refuses_dag", dag_id=dag_id, error=str(error))
            return Changes()

    async def _listing(
        self, dag_id: str, of_runs: dict[str, Any], of_tasks: dict[str, Any]
    ) -> Changes:
        runs, instances = await asyncio.gather(
            all_pages(partial(self._page, DagRunPage, self._runs, dag_id), **of_runs),
            all_pages(
                partial(self._page, TaskInstancePage, self._instances, dag_id, ANY), **of_tasks
            ),
        )
        return Changes(runs, instances)

    async def _page(
        self, model: type[ModelT], operation: Operation, *args: str, **filters: Any
    ) -> ModelT:
        return await self._transport.send_once(
            partial(operation, *args, **filters),
            lambda answer: granted(answer).read(model),
            Lane.POLL,
        )

    async def _filters(self, wanted: RunFilter) -> dict[str, Any]:
        filters: dict[str, Any] = {"run_after_gte": wanted.run_after}
        if await self._can_name_runs():
            return {**filters, "run_id_prefix_pattern": "|".join(wanted.run_ids)}
        # What contains the prefix, of runs alone before 3.2. The rest is sorted out here.
        return {**filters, "run_id_pattern": self.prefix}

    async def _can_name_runs(self) -> bool:
        return await self._api.is_at_least(*_PREFIXES_SINCE)
