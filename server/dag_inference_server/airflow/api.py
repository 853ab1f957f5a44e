"""The requests that the gateway makes, one method each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from airflow_client.client import (
    DAGApi,
    DagRunApi,
    DagRunMutableStates,
    DAGRunPatchBody,
    DagSourceApi,
    EventLogApi,
    MonitorApi,
    TaskApi,
    TaskInstanceApi,
    TriggerDAGRunPostBody,
    VersionApi,
)
from async_lru import alru_cache
from pydantic import ValidationError

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow.answer import RETRY_AFTER, Answer, ModelT
from dag_inference_server.airflow.answers import (
    Components,
    DagDetails,
    DagPage,
    DagRun,
    DagRunPage,
    DagSource,
    Event,
    EventPage,
    LogLine,
    Task,
    TaskCollection,
    TaskInstance,
    TaskInstancePage,
    Version,
)
from dag_inference_server.airflow.bodies import end_of
from dag_inference_server.airflow.doubt import Doubt
from dag_inference_server.airflow.pages import all_pages
from dag_inference_server.airflow.requests import Operation
from dag_inference_server.airflow.retries import a_few_times
from dag_inference_server.airflow.statuses import (
    NotFound,
    Refused,
    RunExists,
    granted,
    unless_refused,
)
from dag_inference_server.airflow.transport import Lane, Transport, was_sent

ANY = "~"
"""Airflow's name for every DAG, or every run."""

_NO_SUCH_DAG = "dag_inference_check_no_such_dag"


_LOG_TAIL = 256 * 1024
"""Bytes of a log that are looked at. An exception stands near the end, but for what the task
printed last, which Airflow may put behind it."""


_HEALTH_WITHIN = 2.0
"""Seconds."""

_ANYTHING: Mapping[str, object] = {}

_VERSION_LIVES = 60.0
"""Seconds. Airflow can be upgraded under a running gateway."""


class AirflowApi:
    """Airflow's API as the gateway uses it.

    Every method raises `AirflowUnavailable` when there is no answer, or none of Airflow's API,
    after a few repeats where nothing else is said, and `AirflowDenied` when the account is
    refused.
    """

    def __init__(self, transport: Transport) -> None:
        """Use `transport` for every request."""
        self._transport = transport
        client = transport.client
        self._dags = DAGApi(client)
        self._runs = DagRunApi(client)
        self._sources = DagSourceApi(client)
        self._events = EventLogApi(client)
        self._tasks = TaskApi(client)
        self._task_instances = TaskInstanceApi(client)
        self._monitor = MonitorApi(client)
        self._versions = VersionApi(client)
        self._known_version = alru_cache(maxsize=1, ttl=_VERSION_LIVES)(self.version)

    @property
    def url(self) -> str:
        """Where Airflow answers, without `/api/v2`."""
        return self._transport.url

    async def version(self) -> str:
        """Airflow's version, which it tells anybody."""
        answer = await self._transport.send(
            self._versions.get_version_without_preload_content,
            lambda answer: granted(answer).read(Version),
            # Polls ask for it.
            Lane.POLL,
            is_public=True,
        )
        return answer.version

    async def components(self) -> dict[str, bool]:
        """Airflow's own parts that there are, and whether each is healthy. It tells anybody.

        Asked once, and given up after two seconds: an Airflow that hangs is not well.
        """
        answer = await self._transport.send_once(
            self._monitor.get_health_without_preload_content,
            lambda answer: granted(answer).read(Components),
            Lane.HEALTH,
            within=_HEALTH_WITHIN,
            is_public=True,
        )
        return {
            name: part.status == "healthy"
            for name, part in answer.root.items()
            if part.status is not None
        }

    async def is_at_least(self, *numbers: int) -> bool:
        """Whether Airflow's version is at least this one, as of a minute ago at most."""
        return _numbers(await self._known_version()) >= numbers

    async def prove_account(self) -> None:
        """Make a request that only an account may make.

        Raises:
            AirflowDenied: The account is refused.
        """
        await self._read(DagPage, self._dags.get_dags_without_preload_content, limit=1)

    async def prove_answers(self) -> None:
        """The same, asked once, and beside all else that hangs.

        Raises:
            AirflowDenied: The account is refused.
        """
        await self._transport.send_once(
            partial(self._dags.get_dags_without_preload_content, limit=1),
            lambda answer: granted(answer).read(DagPage),
            Lane.TRIAL,
        )

    async def prove_may_trigger(self) -> None:
        """Ask for what only an account that may trigger runs is refused as "not found".

        Raises:
            AirflowDenied: The account may not.
        """
        with suppress(NotFound):
            await self.trigger(_NO_SUCH_DAG, _NO_SUCH_DAG, {})

    async def prove_may_end_runs(self) -> None:
        """Ask for what only an account that may end runs is refused as "not found".

        Raises:
            AirflowDenied: The account may not.
        """
        with suppress(NotFound):
            await self.end_run(_NO_SUCH_DAG, _NO_SUCH_DAG, "")

    async def prove_may_read_logs(self) -> None:
        """Ask for what only an account that may read task logs is refused as "not found".

        Raises:
            AirflowDenied: The account may not.
        """
        with suppress(NotFound):
            await self.task_log(_NO_SUCH_DAG, _NO_SUCH_DAG, _NO_SUCH_DAG, -1, 1, within=5)

    async def dag(self, dag_id: str) -> DagDetails:
        """The newest version of a DAG, paused or broken included.

        Raises:
            NotFound: No such DAG.
        """
        operation = self._dags.get_dag_details_without_preload_content
        return await self._read(DagDetails, operation, dag_id, of={"dag_id": dag_id})

    async def dags(self, *, offset: int, limit: int, tags: Sequence[str] = ()) -> DagPage:
        """DAGs that the account may see, in the order of their ids.

        Paused and broken ones are among them, and those that are gone from their files.

        Args:
            offset: How many to leave out.
            limit: How many at most, up to 100.
            tags: Only those with all of these.
        """
        return await self._read(
            DagPage,
            self._dags.get_dags_without_preload_content,
            offset=offset,
            limit=limit,
            tags=list(tags) or None,
            tags_match_mode="all" if tags else None,
            # A broken file takes its DAGs with it at once.
            exclude_stale=False,
            order_by=["dag_id"],
        )

    async def active_runs(self, dag_id: str) -> int:
        """How many runs of a DAG are queued or running.

        Raises:
            NotFound: No such DAG.
        """
        operation = self._runs.get_dag_runs_without_preload_content
        page = await self._read(DagRunPage, operation, dag_id, limit=1, state=["queued", "running"])
        return page.total_entries

    async def tasks(self, dag_id: str) -> tuple[Task, ...]:
        """The tasks of the newest version of a DAG.

        Raises:
            NotFound: No such DAG.
        """
        operation = self._tasks.get_tasks_without_preload_content
        return (await self._read(TaskCollection, operation, dag_id)).tasks

    async def source(self, dag_id: str, version: int) -> str | None:
        """The text of the file that a version of a DAG was made from.

        Raises:
            NotFound: It is not kept.
        """
        source = await self._read(
            DagSource,
            self._sources.get_dag_source_without_preload_content,
            dag_id,
            version_number=version or None,
            accept="application/json",
            of={"dag_id": dag_id} | ({"version_number": version} if version else {}),
        )
        return source.content

    async def trigger(
        self,
        dag_id: str,
        run_id: str,
        conf: Mapping[str, Any],
        *,
        is_large: bool = False,
        note: str | None = None,
        check: Callable[[], object] = lambda: None,
        doubt: Doubt | None = None,
    ) -> DagRun:
        """Make a run. Safe to repeat, because the caller chose the run id.

        Args:
            dag_id: The DAG.
            run_id: The run.
            conf: Its conf.
            is_large: Whether writing it down takes so long that others must not wait for it.
            note: Its note.
            check: Called just before it is sent for the first time, for a last chance to
                raise. Once it was sent, only its outcome is the end of it.
            doubt: Tells, at any moment, whether the run may have been made.

        Raises:
            NotFound: No such DAG.
            RunExists: The run is there already, perhaps by an earlier try of this.
            Refused: Airflow will not make it: conf against params, broken DAG.
        """
        body = TriggerDAGRunPostBody(
            dag_run_id=run_id, logical_date=None, conf=dict(conf), note=note
        )
        operation = partial(self._runs.trigger_dag_run_without_preload_content, dag_id, body)
        written = await asyncio.to_thread(operation) if is_large else operation()
        sent, doubt = 0, doubt or Doubt()

        def write() -> Any:
            nonlocal sent
            if not sent:
                check()
            sent += 1
            doubt.is_open = True
            return written

        async def once() -> DagRun:
            was_open = doubt.is_open
            try:
                return await self._transport.send_once(
                    write,
                    lambda answer: unless_refused(answer).read(
                        DagRun, dag_id=dag_id, run_id=run_id
                    ),
                    Lane.TRIGGER,
                )
            except AirflowUnavailable as error:
                doubt.is_open = was_open or (doubt.is_open and was_sent(error))
                raise
            except AirflowDenied:
                # This one was answered.
                doubt.is_open = was_open
                raise

        try:
            run = await a_few_times(once)
        except (RunExists, Refused) as error:
            error.was_repeated = sent > 1
            raise
        if run.queued_at is not None:
            self._transport.clock.saw(run.queued_at)
        return run

    async def run(self, dag_id: str, run_id: str) -> DagRun:
        """A run as it is now.

        Raises:
            NotFound: No such run.
        """
        operation = self._runs.get_dag_run_without_preload_content
        of = {"dag_id": dag_id, "run_id": run_id}
        return await self._read(DagRun, operation, dag_id, run_id, of=of)

    async def end_run(
        self,
        dag_id: str,
        run_id: str,
        note: str,
        *,
        check: Callable[[], object] = lambda: None,
    ) -> DagRun:
        """Mark a run failed, whatever its state is, and say why in its note.

        What runs is failed, what waits is skipped, and teardowns still run. `check` is called
        just before each sending, for a last chance to raise.

        Raises:
            NotFound: No such run.
        """
        body = DAGRunPatchBody(state=DagRunMutableStates.FAILED, note=note)

        def write() -> Any:
            check()
            return self._runs.patch_dag_run_without_preload_content(dag_id, run_id, body)

        return await self._read(DagRun, write, of={"dag_id": dag_id, "run_id": run_id})

    async def task_instance(
        self, dag_id: str, run_id: str, task_id: str, map_index: int
    ) -> TaskInstance:
        """One task instance as it is now; `map_index` -1 for one that is not mapped.

        Raises:
            NotFound: No such task instance.
        """
        where = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id}
        of = where | {"map_index": map_index}
        if map_index < 0:
            operation = self._task_instances.get_task_instance_without_preload_content
            return await self._read(TaskInstance, operation, *where.values(), of=of)
        mapped = self._task_instances.get_mapped_task_instance_without_preload_content
        return await self._read(TaskInstance, mapped, *of.values(), of=of)

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
        operation = self._task_instances.get_task_instances_without_preload_content
        of = {"dag_id": dag_id, "run_id": run_id} | ({"task_id": task_id} if task_id else {})
        read = partial(self._read, TaskInstancePage, operation, dag_id, run_id, of=of)
        return await all_pages(read, task_id=task_id, state=list(states) or None)

    async def events(
        self, dag_id: str, run_id: str, kinds: Collection[str], *, after: datetime | None
    ) -> list[Event]:
        """What the event log holds of a run, in its order.

        Args:
            dag_id: The DAG.
            run_id: The run.
            kinds: Only these events, by Airflow's names.
            after: Only what happened later; `None` for all.

        Raises:
            AirflowDenied: The account may not read the log, which not every account may.
        """
        operation = self._events.get_event_logs_without_preload_content
        return await all_pages(
            partial(self._read, EventPage, operation, of={"dag_id": dag_id, "run_id": run_id}),
            dag_id=dag_id,
            run_id=run_id,
            included_events=list(kinds),
            after=after,
            order_by=["id"],
        )

    async def task_log(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        map_index: int,
        try_number: int,
        *,
        within: float,
    ) -> list[LogLine]:
        """The lines with exceptions at the end of a log, in their order.

        Asked once and given up after `within` seconds: a log can be as long as it likes, and
        lie anywhere. As lines of JSON, so that what is cut off in front still has whole lines,
        and that Airflow streams the log instead of building one document of all of it.

        Raises:
            NotFound: No such try.
            AirflowDenied: The account may not read logs, which not every account may.
        """
        operation = partial(
            self._task_instances.get_log_without_preload_content,
            dag_id,
            run_id,
            task_id,
            try_number,
            map_index=map_index,
            # The parameter `accept` sends a second header beside the client's own.
            _headers={"Accept": "application/x-ndjson"},
        )
        try:
            async with asyncio.timeout(within):
                return await self._transport.send_once(
                    operation, _read_log, Lane.LOG, body=end_of(_LOG_TAIL)
                )
        except TimeoutError:
            raise AirflowUnavailable(
                "Airflow does not hand over a log in time", retry_after=RETRY_AFTER
            ) from None

    async def _read(
        self,
        model: type[ModelT],
        operation: Operation,
        *args: Any,
        of: Mapping[str, object] = _ANYTHING,
        **kwargs: Any,
    ) -> ModelT:
        return await self._transport.send(
            partial(operation, *args, **kwargs), lambda answer: granted(answer).read(model, **of)
        )


def _read_log(answer: Answer) -> list[LogLine]:
    lines, body = [], granted(answer).body
    if body[:64].lstrip().startswith(b"<"):
        raise AirflowUnavailable("Airflow's answer is no log", retry_after=RETRY_AFTER)
    for line in body.splitlines():
        # Most lines have no exception, and cost no reading.
        if b'"error_detail"' in line:
            with suppress(ValidationError):
                lines.append(LogLine.model_validate_json(line))
    return lines


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: `3.3.2rc1` is (3, 3, 2)."""
    found = re.match(r"\d+(\.\d+)*", version)
    if found is None:
        raise AirflowUnavailable(f"Airflow's version {version!r} is none", retry_after=RETRY_AFTER)
    return tuple(int(number) for number in found.group().split("."))
