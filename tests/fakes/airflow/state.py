"""What an Airflow holds: DAGs, runs, task instances and values, as plain Python."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, TypeAlias

from fakes.airflow.task_logs import TASK_FAILED, Entry

Step: TypeAlias = "Callable[[Run], object]"
"""Something that happens to a run: see `steps.py`."""

FINISHED = ("success", "failed", "upstream_failed", "skipped", "removed")
RUNNING = ("running", "deferred", "up_for_reschedule", "awaiting_input")
TEARDOWN_RULE = "all_done_setup_success"


class Clock:
    """Airflow's clock, which need not agree with ours."""

    def __init__(self) -> None:
        """Agree."""
        self.ahead = timedelta(0)
        self.spread = timedelta(0)
        """How far off a host that writes was at most: see `Run.off`."""

    def now(self) -> datetime:
        """The time in Airflow."""
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a DAG."""

    task_id: str
    downstream: Sequence[str] = ()
    trigger_rule: str = "all_success"
    is_mapped: bool = False
    is_result: bool = False
    """Whether the DAG declares it as its result."""

    @property
    def is_teardown(self) -> bool:
        """Whether it only cleans up."""
        return self.trigger_rule == TEARDOWN_RULE


@dataclass(slots=True)
class Version:
    """One version of a DAG."""

    number: int
    tasks: tuple[Task, ...]
    source: str | None
    """The text of its file; `None` if Airflow has not kept it."""
    created_at: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def task(self, task_id: str) -> Task:
        """The task of that id."""
        return next(task for task in self.tasks if task.task_id == task_id)


WRITTEN = "written for the tasks"
"""The source of a DAG that nobody gave one: see `source_of`."""


class Dag:
    """A DAG with its runs."""

    def __init__(
        self,
        dag_id: str,
        *tasks: Task,
        source: str | None = WRITTEN,
        tags: Sequence[str] = (),
        is_paused: bool = False,
        is_stale: bool = False,
        has_import_errors: bool = False,
        allowed_run_types: Sequence[str] | None = None,
        description: str | None = None,
        doc_md: str | None = None,
        params: Mapping[str, Mapping[str, Any]] | None = None,
        refuse: Callable[[Mapping[str, Any]], str | None] = lambda conf: None,
        script: Sequence[Step] = (),
        keeps: int | None = None,
    ) -> None:
        """Make its first version.

        Args:
            dag_id: Its id.
            tasks: Its tasks; none means one task, `predict`.
            source: The text of its file. Left out: one that declares these tasks.
            tags: Its tags.
            is_paused: Whether it is paused: runs are made, and stay queued.
            is_stale: Whether it is gone from its file.
            has_import_errors: Whether its file is broken.
            allowed_run_types: Which kinds of run may be made; `None` for all.
            description: One line about it.
            doc_md: Its documentation.
            params: Its params by name: `value`, and what else there is of `schema`,
                `description` and `source`.
            refuse: Says why a conf breaks the params, or `None` if it does not.
            script: What happens to each run just after its trigger was answered.
            keeps: How many runs there may be before the oldest are deleted, if they have ended;
                `None` for any number.
        """
        self.dag_id = dag_id
        self.tags = tags
        self.is_paused = is_paused
        self.is_stale = is_stale
        self.has_import_errors = has_import_errors
        self.allowed_run_types = allowed_run_types
        self.params = params or {}
        self.description = description
        self.doc_md = doc_md
        self.refuse = refuse
        self.script = script
        self.keeps = keeps
        self.clock = Clock()
        self.runs: dict[str, Run] = {}
        self.made: list[Run] = []
        """Every run that was ever made, deleted ones included, but for those that are too old."""
        self.count = 0
        """How many that was."""
        self.written: dict[Run, None] = {}
        """The runs, those last to which something was written last."""
        self.events: dict[str, list[Event]] = {}
        """The event log, by run id. It outlives the runs."""
        self.versions: list[Version] = []
        self.last_parsed_time = self.clock.now()
        self.new_version(*tasks or (Task("predict"),), source=source)

    @property
    def latest(self) -> Version:
        """The newest version."""
        return self.versions[-1]

    def new_version(self, *tasks: Task, source: str | None = WRITTEN) -> None:
        """Change the file, so that Airflow makes a new version of it."""
        text = source_of(self.dag_id, tasks) if source == WRITTEN else source
        self.last_parsed_time = self.clock.now()
        number = len(self.versions) + 1
        self.versions.append(Version(number, tasks, text, self.last_parsed_time))

    def written_since(self, moment: datetime | None) -> list[Run]:
        """The runs of which something was written then or later, in the order of their making.

        An index: an Airflow of thousands of runs is asked for the last few ten times a second.
        """
        if moment is None:
            return [*self.runs.values()]
        # What a host that is off has stamped earlier was written no earlier than the spread.
        since = moment - self.clock.spread
        newest_first = takewhile(lambda run: run.written_at >= since, reversed(self.written))
        return sorted(newest_first, key=lambda run: run.number)

    def trigger(self, run_id: str, conf: dict[str, Any] | None, note: str | None = None) -> Run:
        """Make a run."""
        run = self.runs[run_id] = Run(self, run_id, conf, note)
        self.made.append(run)
        self.count += 1
        while self.keeps is not None and len(self.made) > self.keeps and self.made[0].is_final:
            oldest = self.made.pop(0)
            oldest.delete()
            self.events.pop(oldest.run_id, None)
        return run

    def log(self, run_id: str, event: Event) -> None:
        """Write a line of the event log."""
        self.events.setdefault(run_id, []).append(event)


@dataclass(slots=True)
class TaskInstance:
    """One task of one run, or one map index of it."""

    task_id: str
    map_index: int
    updated_at: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Changes with each try."""
    state: str | None = None
    try_number: int = 0
    start_date: datetime | None = None
    end_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the event log."""

    event: str
    when: datetime
    task_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None
    extra: str | None = None


class Run:
    """A run, and what a scheduler and workers do to it. Every write moves `updated_at`."""

    def __init__(self, dag: Dag, run_id: str, conf: dict[str, Any] | None, note: str | None):
        """Queue it; its task instances have no state yet."""
        self.dag = dag
        self.run_id = run_id
        self.off = timedelta(0)
        """How far the clock of the host is off that writes to it. Behind is as good as late: a row
        that shows when later ones have been seen."""
        now = self._written()
        self.number = dag.count
        self.conf = conf
        self.note = note
        self.version = dag.latest
        self.state = "queued"
        self.run_after = self.updated_at = now
        self.queued_at: datetime | None = now
        self.start_date: datetime | None = None
        self.end_date: datetime | None = None
        self.instances = {
            (task.task_id, -1): TaskInstance(task.task_id, -1, now) for task in self.version.tasks
        }
        self.values: dict[tuple[str, int], Any] = {}
        self.logs: dict[tuple[str, int, int], list[Entry]] = {}
        """By task id, map index and try."""

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in {"success", "failed"}

    # The run

    def start(self) -> None:
        """Let it run."""
        self.state = "running"
        self.updated_at = self.start_date = self._written()

    def end(self, state: str) -> None:
        """End it."""
        if self.start_date is None:
            self.start()
        self.state = state
        self.updated_at = self.end_date = self._written()

    def delete(self) -> None:
        """Delete it and all that belongs to it, unless that has happened."""
        if self.dag.runs.get(self.run_id) is self:
            del self.dag.runs[self.run_id]
            del self.dag.written[self]

    def cancel(self, note: str | None) -> None:
        """Mark it failed, as `PATCH` does."""
        self.mark("failed", note)

    def mark(self, state: str, note: str | None = None) -> None:
        """Mark it, as `PATCH` does (`airflow/api/common/mark_tasks.py`).

        What runs gets the state, what waits is skipped, teardowns still run, and while one
        has to, the run goes on.
        """
        if note is not None:
            self.note = note
        self._log_event("patch_dag_run", extra={"state": state, "method": "PATCH"})
        teardowns_wait = False
        for instance in self.instances.values():
            if instance.state in FINISHED:
                continue
            if self.version.task(instance.task_id).is_teardown:
                teardowns_wait = True
            else:
                self._end_by_hand(instance, state if instance.state in RUNNING else "skipped")
                instance.start_date = instance.start_date or instance.end_date
        if not teardowns_wait:
            # One that has not started is not said to have.
            self.state = state
            self.end_date = self._written()
        self.updated_at = self._written()

    def mark_task(self, task_id: str, state: str) -> None:
        """Mark one task, as `PATCH` of its instance does."""
        self._log_event("patch_task_instance", task_id, extra={"new_state": state})
        self._end_by_hand(self.instance(task_id), state)

    # Its tasks

    def instance(self, task_id: str, map_index: int = -1) -> TaskInstance:
        """The task instance."""
        return self.instances[task_id, map_index]

    def begin(self, task_id: str, map_index: int = -1) -> None:
        """Let a try of a task run. What an earlier one returned is deleted first."""
        if self.state == "queued":
            self.start()
        instance = self.instance(task_id, map_index)
        self.values.pop((task_id, map_index), None)
        instance.try_number += 1
        instance.end_date = None
        self._write(instance, "running")

    def finish(self, task_id: str, value: Any = None, map_index: int = -1) -> None:
        """Let a task return."""
        self._run_if_not_running(task_id, map_index)
        if value is not None:
            self.values[task_id, map_index] = value
        self._report(task_id, map_index, "success")

    def fail(self, task_id: str, map_index: int = -1, raises: BaseException | None = None) -> None:
        """Let a task fail for good; without an exception, it does not say why."""
        self._run_if_not_running(task_id, map_index)
        if raises is not None:
            self.log(task_id, TASK_FAILED, raises, map_index)
        self._report(task_id, map_index, "failed")

    def log(
        self, task_id: str, event: str, raised: BaseException | None = None, map_index: int = -1
    ) -> None:
        """Let a task, or its runner, log something."""
        self._run_if_not_running(task_id, map_index)
        key = (task_id, map_index, self.instance(task_id, map_index).try_number)
        entry = Entry(self.dag.clock.now(), event, raised)
        self.logs.setdefault(key, []).append(entry)

    def fail_fast(self, task_id: str) -> None:
        """Let a task fail in a DAG with `fail_fast`: all that has not ended ends with it."""
        self.fail(task_id)
        for instance in self.instances.values():
            if instance.state in FINISHED or self.version.task(instance.task_id).is_teardown:
                continue
            is_running = instance.state in RUNNING
            event = "fail task" if is_running else "skip task"
            self._log_event(event, of=instance)
            self._write(instance, "failed" if is_running else "skipped")

    def retry(self, task_id: str, map_index: int = -1) -> None:
        """Let a task fail that will be tried again."""
        self._run_if_not_running(task_id, map_index)
        self.instance(task_id, map_index).id = str(uuid.uuid4())
        self._report(task_id, map_index, "up_for_retry")

    def set_state(self, task_id: str, state: str | None, map_index: int = -1) -> None:
        """Give a task instance a state, whatever it had."""
        self._write(self.instance(task_id, map_index), state)

    def expand(self, task_id: str, length: int) -> None:
        """Expand a mapped task, or expand it anew. Surplus map indexes are `removed`."""
        unexpanded = self.instances.pop((task_id, -1), None)
        now = self._written()
        if length == 0:
            assert unexpanded
            self.instances[task_id, -1] = unexpanded
            # Alone among the final states, without an end.
            unexpanded.state = "skipped"
            unexpanded.updated_at = now
        for index in range(length):
            if (task_id, index) not in self.instances:
                self.instances[task_id, index] = TaskInstance(task_id, index, now)
        for (name, index), instance in self.instances.items():
            if name == task_id and index >= length:
                self._write(instance, "removed")

    def clear(self, task_id: str, map_index: int = -1) -> None:
        """Let a task run once more. `end_date` and its value stay until it does."""
        self._log_event("post_clear_task_instances")
        instance = self.instance(task_id, map_index)
        instance.id = str(uuid.uuid4())
        self._write(instance, None)
        if self.is_final:
            self.state = "queued"
            self.updated_at = self.queued_at = self._written()
            self.start_date = self.end_date = None

    def _written(self) -> datetime:
        """Take in that something of the run is written; when that is, by who writes it."""
        clock = self.dag.clock
        self.written_at = clock.now()
        clock.spread = max(clock.spread, abs(self.off))
        self.dag.written.pop(self, None)
        self.dag.written[self] = None
        return self.written_at + self.off

    def _run_if_not_running(self, task_id: str, map_index: int) -> None:
        if self.instance(task_id, map_index).state != "running":
            self.begin(task_id, map_index)

    def _log_event(
        self,
        event: str,
        task_id: str | None = None,
        *,
        of: TaskInstance | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        # By the host that writes the rest of it.
        line = Event(
            event,
            self.dag.clock.now() + self.off,
            task_id=of.task_id if of else task_id,
            map_index=of.map_index if of else None,
            try_number=of.try_number if of else None,
            extra=None if extra is None else json.dumps(extra),
        )
        self.dag.log(self.run_id, line)

    def _report(self, task_id: str, map_index: int, state: str) -> None:
        """Take in what a worker says of its task.

        Also into the event log (`airflow/api_fastapi/execution_api/routes/task_instances.py`).
        """
        instance = self.instance(task_id, map_index)
        self._log_event(state, of=instance, extra={"host_name": "worker"})
        self._write(instance, state)

    def _end_by_hand(self, instance: TaskInstance, state: str) -> None:
        """End a task, whose end stays what it was if it had one (`TaskInstance.set_state`)."""
        before = instance.end_date
        self._write(instance, state)
        instance.end_date = before or instance.end_date

    def _write(self, instance: TaskInstance, state: str | None) -> None:
        instance.state = state
        instance.updated_at = self._written()
        if state == "running":
            instance.start_date = instance.updated_at
        elif state in (*FINISHED, "up_for_retry"):
            instance.end_date = instance.updated_at


def source_of(dag_id: str, tasks: Sequence[Task]) -> str:
    """A file that declares these tasks in straight lines, and their results."""
    lines = [
        "from airflow.sdk import DAG",
        "from airflow.providers.standard.operators.empty import EmptyOperator",
        "",
        f"with DAG({dag_id!r}) as dag:",
    ]
    for number, task in enumerate(tasks):
        made = f"EmptyOperator(task_id={task.task_id!r})"
        if task.is_mapped:
            made = f"EmptyOperator.partial(task_id={task.task_id!r}).expand(doc=[])"
        lines.append(f"    task_{number} = {made}")
        if task.is_result:
            lines.append(f"    dag.add_result(task_{number}.output)")
    return "\n".join(lines) + "\n"
