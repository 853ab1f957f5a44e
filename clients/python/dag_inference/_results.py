"""What a call is made for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dag_inference._enums import by_number
from dag_inference._runs import run_from
from dag_inference._timing import timing_from
from dag_inference._values import plain_dict
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
class Result:
    """The result of a run."""

    value: dict[str, Any]
    """The result, as `kind` tells. Integers beyond ±(2^53 - 1) are decimal strings."""
    kind: ResultKind
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
    return Result(
        value=plain_dict(message.result),
        kind=_KINDS.get(message.result_kind, ResultKind.UNKNOWN),
        run=run_from(message.run),
        timing=timing_from(message.timing),
    )
