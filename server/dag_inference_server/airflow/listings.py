"""What Airflow tells of many runs at once, with the filters that its version has.

All by GET: the POST that lists by ids writes an audit row for every call. None is
repeated: the watcher asks again anyway, and knows when.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

import structlog
from airflow_client.client import DagRunApi, TaskInstanceApi

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow.answer import ModelT
from dag_inference_server.airflow.answers import DagRun, DagRunPage, TaskInstance, TaskInstancePage
from dag_inference_server.airflow.api import ANY, AirflowApi
from dag_inference_server.airflow.pages import all_pages
from dag_inference_server.airflow.requests import Operation
from dag_inference_server.airflow.statuses import NotFound, granted
from dag_inference_server.airflow.transport import Lane, Transport
from dag_inference_server.outages import Outages

log = structlog.get_logger(__name__)

_PREFIXES_SINCE = (3, 2, 2)
"""The version that brought `run_id_prefix_pattern`, which can name several runs. Airflow takes
no notice of a parameter that it does not know, so that only the version tells."""

_CHUNK, _CHUNK_ONE_BY_ONE = 100, 10
"""Runs that one reading by id may name: one page of them. Where they are read one by one, each
costs two requests."""

_NAMES = 6000
"""Bytes of ids that fit a URL of 8 kB beside all else."""

_ID_BEYOND_PREFIX = 36
"""Bytes of a run id, and of what stands between two of them in a URL, without the prefix."""


_REFUSAL_LIVES = 300.0
"""Seconds until a listing over all DAGs is tried again after it was refused."""

_Filters: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Of which runs, and since when."""

    run_ids: Collection[str]
    """How their ids begin, any of them. Before Airflow 3.2.2, others are listed, too."""
    run_after: datetime
    """Only those made then or later: over all DAGs, the one selective index."""
    since: datetime
    """Only what was written then or later, by Airflow's clock."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Runs and task instances as they are now."""

    runs: Sequence[DagRun] = ()
    instances: Sequence[TaskInstance] = ()
    unheard: frozenset[str] = frozenset()
    """DAGs of which a part is missing, because a listing failed; `ANY` for all of them."""

    def __add__(self, other: Changes) -> Changes:
        """Both."""
        return Changes(
            (*self.runs, *other.runs),
            (*self.instances, *other.instances),
            self.unheard | other.unheard,
        )


class Listings:
    """Lists runs and task instances. Raises as `AirflowApi` does."""

    def __init__(self, api: AirflowApi, transport: Transport, *, prefix: str) -> None:
        """List runs whose ids begin with `prefix`."""
        self.prefix = prefix
        self._api = api
        self._transport = transport
        self._runs = DagRunApi(transport.client).get_dag_runs_without_preload_content
        self._instances = TaskInstanceApi(
            transport.client
        ).get_task_instances_without_preload_content
        self._by_dag_until = 0.0
        self._outages = Outages()

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

    async def runs(self, dag_id: str, *, states: Collection[str]) -> list[DagRun]:
        """The runs of one DAG, or of `ANY`, in these states, of any age.

        All whose ids begin with the prefix, and before Airflow 3.2.2 others, too.
        """
        if await self._can_name_runs():
            filters: _Filters = {"run_id_prefix_pattern": self.prefix}
        else:
            filters = {"run_id_pattern": self.prefix}
        read = partial(self._page, DagRunPage, self._runs, dag_id)
        return await all_pages(read, state=list(states), **filters)

    @property
    def asks_by_dag(self) -> bool:
        """Whether DAGs are asked for one by one, because all of them were refused lately."""
        return time.monotonic() < self._by_dag_until

    def ask_by_dag(self, dags: int) -> None:
        """Do so for a while; tells how many there are when it begins."""
        if not self.asks_by_dag:
            log.warning("airflow_refuses_all_dags", dags=dags)
            self._by_dag_until = time.monotonic() + _REFUSAL_LIVES

    async def chunk(self) -> int:
        """How many runs `by_id` may be asked for at once."""
        if not await self._can_name_runs():
            return _CHUNK_ONE_BY_ONE
        return min(_CHUNK, _NAMES // (len(self.prefix) + _ID_BEYOND_PREFIX))

    async def changed(
        self,
        dag_ids: Collection[str],
        wanted: RunFilter,
        *,
        task_states: Collection[str],
        run_states: Collection[str],
        runs_since: datetime | None,
    ) -> Changes:
        """What has changed to one of these states; to any, if empty.

        Args:
            dag_ids: The DAGs that matter. Others are listed, too, unless the account is
                refused a listing over all DAGs.
            wanted: The runs that matter.
            task_states: States of task instances.
            run_states: States of runs.
            runs_since: Since when what is written to runs themselves matters; `None` to list
                task instances alone.
        """
        filters = await self._filters(wanted)
        of_tasks = {**filters, **_written(wanted.since, task_states)}
        if runs_since is None:
            return await self._of_all(dag_ids, None, of_tasks)
        of_runs = {**filters, **_written(runs_since, run_states)}
        return await self._of_all(dag_ids, of_runs, of_tasks)

    async def by_id(
        self,
        keys: Collection[tuple[str, str]],
        wanted: RunFilter,
        *,
        task_states: Collection[str],
        every_run: bool,
        runs_too: bool,
    ) -> Changes:
        """What has changed of some runs and their task instances.

        Args:
            keys: DAG ids and run ids, at most `chunk`.
            wanted: The same runs, and since when what is written matters.
            task_states: States of task instances that matter.
            every_run: Whether also the runs that have not changed are listed. One that is
                missing then is gone, or hidden from the account.
            runs_too: Whether at least the runs are that have changed, and not their task
                instances alone.
        """
        if not await self._can_name_runs():
            return await self._one_by_one(keys, task_states)
        filters = await self._filters(wanted)
        of_runs = None
        if every_run:
            of_runs = filters
        elif runs_too:
            of_runs = {**filters, **_written(wanted.since, ())}
        of_tasks = {**filters, **_written(wanted.since, task_states)}
        dag_ids = {dag_id for dag_id, _ in keys}
        if len(dag_ids) > 1:
            return await self._of_all(dag_ids, of_runs, of_tasks)
        # DAG and run id together are an index, however old the runs are.
        return await self._of_each(dag_ids, of_runs, of_tasks)

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
        self, dag_ids: Collection[str], of_runs: _Filters | None, of_tasks: _Filters
    ) -> Changes:
        """One listing over all DAGs, or one for each where the account may not have that."""
        if self.asks_by_dag:
            return await self._of_each(dag_ids, of_runs, of_tasks)
        try:
            return await self._listing(ANY, of_runs, of_tasks)
        except AirflowDenied:
            changes = await self._of_each(dag_ids, of_runs, of_tasks)
            if changes.unheard == set(dag_ids):
                # It is the account as a whole that is refused.
                raise
        self.ask_by_dag(len(dag_ids))
        return changes

    async def _of_each(
        self, dag_ids: Collection[str], of_runs: _Filters | None, of_tasks: _Filters
    ) -> Changes:
        changes = Changes()
        for dag_id in sorted(dag_ids):
            try:
                changes += await self._listing(dag_id, of_runs, of_tasks)
            except (AirflowDenied, AirflowUnavailable, NotFound) as error:
                if self._outages.is_news(dag_id, why := str(error)):
                    log.warning("airflow_listing_failed", dag_id=dag_id, error=why)
                changes += Changes(unheard=frozenset({dag_id}))
        return changes

    async def _listing(self, dag_id: str, of_runs: _Filters | None, of_tasks: _Filters) -> Changes:
        read_runs = partial(self._page, DagRunPage, self._runs, dag_id)
        read_instances = partial(self._page, TaskInstancePage, self._instances, dag_id, ANY)
        # One after the other: one API server answers one listing sooner than two at once. The
        # runs first: of a run that has ended, the ends of its tasks are then told with it, and
        # nothing else is asked while the results of what the second one shows are read.
        runs: list[DagRun] = []
        what, why = ("runs", dag_id), ""
        try:
            if of_runs is not None:
                runs = await all_pages(read_runs, **of_runs)
        except AirflowUnavailable as error:
            # Most calls wait for a task, and can do without.
            why = str(error)
        instances = await all_pages(read_instances, **of_tasks)
        # Only now: where both fail, who asked tells it.
        if why and self._outages.is_news(what, why):
            log.warning("airflow_listing_of_runs_failed", dag_id=dag_id, error=why)
        return Changes(runs, instances, frozenset({dag_id} if why else ()))

    async def _page(
        self, model: type[ModelT], operation: Operation, *args: str, **filters: Any
    ) -> ModelT:
        return await self._transport.send_once(
            partial(operation, *args, **filters),
            lambda answer: granted(answer).read(model),
            Lane.POLL,
        )

    async def _filters(self, wanted: RunFilter) -> _Filters:
        filters: _Filters = {"run_after_gte": wanted.run_after}
        if await self._can_name_runs():
            return {**filters, "run_id_prefix_pattern": "|".join(wanted.run_ids)}
        # What contains the prefix, of runs alone before 3.2. The rest is sorted out here.
        return {**filters, "run_id_pattern": self.prefix}

    async def _can_name_runs(self) -> bool:
        return await self._api.is_at_least(*_PREFIXES_SINCE)


def _written(since: datetime, states: Collection[str]) -> _Filters:
    """Only what was written since then, and is in one of the states if there are any."""
    return {"updated_at_gte": since, "state": list(states) or None}
