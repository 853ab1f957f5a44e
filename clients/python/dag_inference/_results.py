"""What a call is made for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dag_inference._enums import by_number
from dag_inference._runs import run_from
from dag_inference._timing import timing_from
from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    from dag_inference._runs import Run
    from dag_inference._timing import Timing


class ResultKind(StrEnum):
    """How a result holds what the task returned."""

    UNKNOWN = "unknown"
    """One that this version does not know."""
    OBJECT = "object"
    """The task returned a JSON object: that object."""
    WRAPPED_VALUE = "wrapped_value"
    """It returned another value, null included: `{"return_value": value}`."""
    BY_TASK = "by_task"
    """The DAG declares several result tasks: `{task_id: value}`."""
    NONE = "none"
    """The DAG has no result task: an empty object."""


class ResultRule(StrEnum):
    """How the result tasks of a DAG were found."""

    UNKNOWN = "unknown"
    """Not looked for, or a rule that this version does not know."""
    REQUEST = "request"
    TAG = "tag"
    SETTING = "setting"
    DECLARED = "declared"
    LEAF = "leaf"
    NONE = "none"
    RUN_END = "run_end"
    """Not known before the run has ended."""


@dataclass(frozen=True, slots=True)
class ResultReference:
    """Where a value lies that was not read."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int | None
    """`None` for a task that is not mapped."""
    key: str
    """Of the XCom."""
    api_url: str
    """The value in Airflow's REST API."""
    ui_url: str
    """The task instance in Airflow's UI."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run."""

    value: dict[str, Any]
    """The result, exactly, as `kind` tells; empty if only `references` were asked for."""
    kind: ResultKind
    references: tuple[ResultReference, ...]
    """Where the values lie, if that was asked for."""
    run: Run
    """The run as it was when its result was there. It may still be running."""
    timing: Timing
    """Where the time went."""


_KINDS = by_number(ResultKind, pb.ResultKind.items(), "RESULT_KIND_")
_RULES = by_number(ResultRule, pb.ResultRule.items(), "RESULT_RULE_")


def result_rule_from(number: int) -> ResultRule:
    """Read how the result tasks were found."""
    return _RULES.get(number, ResultRule.UNKNOWN)


def result_from(message: pb.InvokeResponse) -> Result:
    """Read a result."""
    kind = _KINDS.get(message.result_kind, ResultKind.UNKNOWN)
    value = json.loads(message.result_json or "{}")
    return Result(
        value={"return_value": value} if kind is ResultKind.WRAPPED_VALUE else value,
        kind=kind,
        references=tuple(map(_reference_from, message.result_reference)),
        run=run_from(message.run),
        timing=timing_from(message.timing),
    )


def _reference_from(message: pb.ResultReference) -> ResultReference:
    return ResultReference(
        dag_id=message.dag_id,
        run_id=message.run_id,
        task_id=message.task_id,
        map_index=message.map_index if message.HasField("map_index") else None,
        key=message.key,
        api_url=message.api_url,
        ui_url=message.ui_url,
    )
