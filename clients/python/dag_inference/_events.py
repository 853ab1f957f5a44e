"""What a stream tells, one class per kind of event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, TypeAlias

from dag_inference._results import result_from, result_rule_from
from dag_inference._runs import run_from, run_state_from, task_instance_from

if TYPE_CHECKING:
    from datetime import datetime

    from dag_inference._results import Result, ResultRule
    from dag_inference._runs import Run, RunState, TaskInstance
    from dag_inference.v1 import dag_inference_pb2 as pb


@dataclass(frozen=True, slots=True)
class Accepted:
    """The run exists. Always the first event."""

    time: datetime
    """When the gateway saw it, by the gateway's clock, in UTC; so in each event."""
    run: Run
    attached: bool
    """Whether the run existed before this call."""
    result_task_ids: tuple[str, ...]
    """The tasks whose values will be the result; empty if not known yet."""
    result_rule: ResultRule


@dataclass(frozen=True, slots=True)
class RunChanged:
    """The run changed its state."""

    time: datetime
    run: Run


@dataclass(frozen=True, slots=True)
class TaskInstanceChanged:
    """A task instance changed its state."""

    time: datetime
    task_instance: TaskInstance


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing happened for a while, and the call is alive."""

    time: datetime
    run_state: RunState


@dataclass(frozen=True, slots=True)
class Completed:
    """The result. Always the last event of a stream that does not raise."""

    time: datetime
    result: Result


Event: TypeAlias = Accepted | RunChanged | TaskInstanceChanged | Heartbeat | Completed
"""One event of a stream."""


def event_from(message: pb.InvokeStreamResponse) -> Event | None:
    """Read an event. `None` for one of a newer gateway, to be passed over."""
    time = message.event_time.ToDatetime(tzinfo=UTC)
    match message.WhichOneof("event"):
        case "accepted":
            return _accepted(time, message.accepted)
        case "run":
            return RunChanged(time, run_from(message.run))
        case "task_instance":
            return TaskInstanceChanged(time, task_instance_from(message.task_instance))
        case "heartbeat":
            return Heartbeat(time, run_state_from(message.heartbeat.run_state))
        case "result":
            return Completed(time, result_from(message.result))
        case _:
            return None


def _accepted(time: datetime, message: pb.Accepted) -> Accepted:
    return Accepted(
        time=time,
        run=run_from(message.run),
        attached=message.attached,
        result_task_ids=tuple(message.result_task_ids),
        result_rule=result_rule_from(message.result_rule),
    )
