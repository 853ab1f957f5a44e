"""What Airflow's API answers with, as far as the gateway reads it.

Models of our own instead of the client's, because the client's are strict about
fields that differ between Airflow 3.1 and 3.3: here, what is not read may be
absent.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel


class _Answer(BaseModel):
    # The input may be a conf or a value, and the text of an error may get into the log.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Component(_Answer):
    """One part of Airflow."""

    status: str | None
    """`healthy`, `unhealthy`, or `None` if Airflow has no such part."""


class Components(RootModel[dict[str, Component]]):
    """The parts of Airflow: `GET /monitor/health`."""


class DagVersion(_Answer):
    """One version of a DAG, counted from 1."""

    version_number: int


class DagTag(_Answer):
    """A tag of a DAG."""

    name: str


class Param(_Answer):
    """A param of a DAG."""

    value: Any = None
    """Its default; `None` also where it has none, or one that breaks its schema."""
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    """What a value has to be, as a JSON Schema."""
    description: str | None = None


class Dag(_Answer):
    """A DAG as listings tell it: `GET /dags`."""

    dag_id: str
    dag_display_name: str = ""
    description: str | None = None
    is_paused: bool
    is_stale: bool
    """Airflow no longer finds the DAG in its file."""
    has_import_errors: bool = False
    allowed_run_types: tuple[str, ...] | None = None
    """Which kinds of run may be made; `None` for all. From Airflow 3.2 on."""
    tags: tuple[DagTag, ...] = ()
    max_active_runs: int | None = None
    """How many runs may run at once; `None` for no limit."""


class DagDetails(Dag):
    """All of a DAG: `GET /dags/{dag_id}/details`."""

    doc_md: str | None = None
    params: dict[str, Param] | None = None
    last_parsed_time: datetime | None = None
    latest_dag_version: DagVersion | None = None

    @property
    def version(self) -> int:
        """The newest version; 0 if Airflow does not tell."""
        return self.latest_dag_version.version_number if self.latest_dag_version else 0


class Task(_Answer):
    """A task of the newest version of a DAG: `GET /dags/{dag_id}/tasks`."""

    task_id: str
    trigger_rule: str
    downstream_task_ids: tuple[str, ...] = ()
    is_mapped: bool = False


class DagRun(_Answer):
    """A run: `GET /dags/{dag_id}/dagRuns/{run_id}`."""

    dag_id: str
    run_id: str = Field(alias="dag_run_id")
    state: str
    """`queued`, `running`, `success` or `failed`."""
    run_after: datetime
    queued_at: datetime | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    conf: dict[str, Any] | None = None
    note: str | None = None
    dag_versions: tuple[DagVersion, ...] = ()

    @property
    def version(self) -> int:
        """The newest version that the run has used; 0 if Airflow does not tell."""
        return max((version.version_number for version in self.dag_versions), default=0)

    @property
    def is_final(self) -> bool:
        """Whether the run has ended. Clearing can still start it again."""
        return self.state in FINAL_RUN_STATES


class TaskInstance(_Answer):
    """One task of one run, or one map index of it."""

    id: str
    """Changes with each try."""
    dag_id: str
    run_id: str = Field(alias="dag_run_id")
    task_id: str
    map_index: int
    """-1 for a task that is not mapped or not expanded yet."""
    state: Annotated[str, BeforeValidator(lambda state: state or "none")]
    """Airflow's name of the state, `none` for none."""
    try_number: int = 0
    start_date: datetime | None = None
    end_date: datetime | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What names the task instance within its run, whichever try it is."""
        return self.task_id, self.map_index

    @property
    def is_final(self) -> bool:
        """Whether it stays as it is, unless somebody clears it."""
        return self.state in FINAL_TASK_STATES


class Event(_Answer):
    """One line of the event log: what somebody, or Airflow itself, did to a run."""

    dag_id: str | None = None
    run_id: str | None = None
    event: str
    """What was done, by Airflow's name of it."""
    when: datetime
    task_id: str | None = None
    map_index: int | None = None
    extra: str | None = None
    """The request that did it, as JSON, if it was one."""


class LoggedException(_Answer):
    """An exception that was logged: its class, without the module, and its text."""

    exc_type: str
    exc_value: str


class LogLine(_Answer):
    """A line of a task's log that has an exception."""

    event: str
    """What happened, in the words of whoever logged it."""
    error_detail: tuple[LoggedException, ...]
    """The exception, then the one that it was raised from or while handling, and so on."""


class EventPage(_Answer):
    """A page of the event log."""

    rows: tuple[Event, ...] = Field(alias="event_logs")
    total_entries: int


class DagPage(_Answer):
    """A page of DAGs."""

    rows: tuple[Dag, ...] = Field(alias="dags")
    total_entries: int


class DagRunPage(_Answer):
    """A page of runs."""

    rows: tuple[DagRun, ...] = Field(alias="dag_runs")
    total_entries: int


class TaskInstancePage(_Answer):
    """A page of task instances."""

    rows: tuple[TaskInstance, ...] = Field(alias="task_instances")
    total_entries: int


class TaskCollection(_Answer):
    """All tasks of a DAG."""

    tasks: tuple[Task, ...]


class DagSource(_Answer):
    """The text of the file that a version of a DAG was made from."""

    dag_id: str
    version_number: int | None
    content: str | None = None


class Version(_Answer):
    """Airflow's own version."""

    version: str


class AccessToken(_Answer):
    """A token: `POST /auth/token`."""

    access_token: str


FINAL_RUN_STATES = frozenset({"success", "failed"})
FINAL_TASK_STATES = frozenset({"success", "failed", "upstream_failed", "skipped", "removed"})
