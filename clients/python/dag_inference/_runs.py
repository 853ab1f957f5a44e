"""Runs and task instances, as Airflow has them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dag_inference._enums import by_number
from dag_inference._times import time
from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime


class RunState(StrEnum):
    """The state of a run, in Airflow's own words."""

    UNKNOWN = "unknown"
    """One that this version does not know."""
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class TaskInstanceState(StrEnum):
    """The state of a task instance, in Airflow's own words."""

    NO_STATUS = "no_status"
    """None yet, or one that this version does not know."""
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RESTARTING = "restarting"
    DEFERRED = "deferred"
    UP_FOR_RESCHEDULE = "up_for_reschedule"
    UP_FOR_RETRY = "up_for_retry"
    AWAITING_INPUT = "awaiting_input"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run. `dag_id` and `run_id` are the handle to come back with."""

    dag_id: str
    run_id: str
    state: RunState
    """Its state when last seen."""
    url: str
    """The run in Airflow's UI."""
    dag_version: int | None
    """The version of the DAG, from 1; `None` if Airflow does not tell."""
    queued_time: datetime | None
    """When Airflow took the run in, by Airflow's clock, like the two below."""
    start_time: datetime | None
    end_time: datetime | None


@dataclass(frozen=True, slots=True)
class TaskInstance:
    """One task of one run, or one map index of it."""

    task_id: str
    map_index: int | None
    """`None` for a task that is not mapped, or not expanded yet."""
    try_number: int
    """From 1; 0 before the first try."""
    state: TaskInstanceState
    """Its state when last seen."""
    start_time: datetime | None
    """When this try started, by its worker's clock, like its end."""
    end_time: datetime | None


_RUN_STATES = by_number(RunState, pb.RunState.items(), "RUN_STATE_")
_TASK_INSTANCE_STATES = by_number(
    TaskInstanceState, pb.TaskInstanceState.items(), "TASK_INSTANCE_STATE_"
)


def run_state_from(number: int) -> RunState:
    """Read a run's state."""
    return _RUN_STATES.get(number, RunState.UNKNOWN)


def run_from(message: pb.Run) -> Run:
    """Read a run."""
    return Run(
        dag_id=message.dag_id,
        run_id=message.run_id,
        state=run_state_from(message.state),
        url=message.url,
        dag_version=message.dag_version or None,
        queued_time=time(message, "queued_time"),
        start_time=time(message, "start_time"),
        end_time=time(message, "end_time"),
    )


def task_instance_from(message: pb.TaskInstance) -> TaskInstance:
    """Read a task instance."""
    return TaskInstance(
        task_id=message.task_id,
        map_index=message.map_index if message.HasField("map_index") else None,
        try_number=message.try_number,
        state=_TASK_INSTANCE_STATES.get(message.state, TaskInstanceState.NO_STATUS),
        start_time=time(message, "start_time"),
        end_time=time(message, "end_time"),
    )
