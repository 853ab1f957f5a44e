"""What shape a result has: which of the contract's kinds, and what stands in the Struct."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dag_inference_server.results.struct import Json
from dag_inference_server.results.written import Value, Written, read, written

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
    value: Value
    """The bare value; of several tasks, an object of their values."""

    def written(self) -> Shaped:
        """The same, with the values as text."""
        if self.kind is ResultKind.BY_TASK and isinstance(self.value, dict):
            return Shaped(self.kind, {t: _written(value) for t, value in self.value.items()})
        return Shaped(self.kind, _written(self.value))

    def read(self, constant: Callable[[str], Json] | None = None) -> Json:
        """The bare value: what JSON callers get. Slow if it, or some of it, is text.

        `constant` is as for `written.read`.
        """
        if self.kind is ResultKind.BY_TASK and isinstance(self.value, dict):
            return {task_id: read(value, constant) for task_id, value in self.value.items()}
        return read(self.value, constant)

    def document(self, constant: Callable[[str], Json] | None = None) -> Mapping[str, Json]:
        """The value as an object: what Struct callers get. As slow as `read`."""
        value = self.read(constant)
        if isinstance(value, dict):
            return value
        return {} if self.kind is ResultKind.NONE else {WRAPPER: value}


def shape(declared: Sequence[str], values: Mapping[str, Value]) -> Shaped:
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
    is_object = value.is_object if isinstance(value, Written) else isinstance(value, dict)
    return Shaped(ResultKind.OBJECT if is_object else ResultKind.WRAPPED_VALUE, value)


def _written(value: Value) -> Value:
    """A value as text, unless some of it is."""
    if isinstance(value, list) and any(isinstance(item, Written) for item in value):
        return value
    return written(value)
