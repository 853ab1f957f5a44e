"""What shape a result has: which of the contract's kinds, and what stands in the Struct."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dag_inference_server.results.struct import Json

WRAPPER = "return_value"
"""Where a value that is no object stands: Airflow's own XCom key."""


class ResultKind(StrEnum):
    """How a result holds what the task returned."""

    OBJECT = "object"
    WRAPPED_VALUE = "wrapped_value"
    BY_TASK = "by_task"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Shaped:
    """A result in its shape."""

    kind: ResultKind
    value: Json
    """The bare value: what JSON callers get."""

    @property
    def document(self) -> Mapping[str, Json]:
        """The value as an object: what Struct callers get."""
        if isinstance(self.value, dict):
            return self.value
        return {} if self.kind is ResultKind.NONE else {WRAPPER: self.value}


def shape(declared: Sequence[str], values: Mapping[str, Json]) -> Shaped:
    """Give values their shape, which follows the number of tasks declared.

    Args:
        declared: The result tasks.
        values: What those of them that were not skipped returned, by task.
    """
    if not declared:
        return Shaped(ResultKind.NONE, None)
    if len(declared) > 1:
        return Shaped(ResultKind.BY_TASK, dict(values))
    value = values[declared[0]]
    kind = ResultKind.OBJECT if isinstance(value, dict) else ResultKind.WRAPPED_VALUE
    return Shaped(kind, value)
