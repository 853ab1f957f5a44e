"""The shape of a result follows the number of tasks that are declared."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dag_inference_server.results.shape import ResultKind, Shaped, shape
from dag_inference_server.results.struct import Json


@pytest.mark.parametrize(
    ("declared", "values", "kind", "value", "document"),
    [
        ([], {}, ResultKind.NONE, None, {}),
        (["a"], {"a": {"x": 1}}, ResultKind.OBJECT, {"x": 1}, {"x": 1}),
        (["a"], {"a": {}}, ResultKind.OBJECT, {}, {}),
        (["a"], {"a": None}, ResultKind.WRAPPED_VALUE, None, {"return_value": None}),
        (["a"], {"a": 0}, ResultKind.WRAPPED_VALUE, 0, {"return_value": 0}),
        (["a"], {"a": "x"}, ResultKind.WRAPPED_VALUE, "x", {"return_value": "x"}),
        (["a"], {"a": []}, ResultKind.WRAPPED_VALUE, [], {"return_value": []}),
        (["a"], {"a": [{}]}, ResultKind.WRAPPED_VALUE, [{}], {"return_value": [{}]}),
        (
            ["a", "b"],
            {"a": 1, "b": {"x": None}},
            ResultKind.BY_TASK,
            {"a": 1, "b": {"x": None}},
            {"a": 1, "b": {"x": None}},
        ),
        (["a", "b"], {"b": {"x": 1}}, ResultKind.BY_TASK, {"b": {"x": 1}}, {"b": {"x": 1}}),
        (["a", "b"], {"b": 1}, ResultKind.BY_TASK, {"b": 1}, {"b": 1}),
    ],
)
def test_a_result_has_one_shape(
    declared: Sequence[str],
    values: dict[str, Json],
    kind: ResultKind,
    value: Json,
    document: dict[str, Json],
) -> None:
    """A lone object is itself, any other value is wrapped, several results are by task.

    Also when all but one of several were skipped: the shape is the DAG's, not the run's.
    """
    shaped = shape(declared, values)

    assert shaped == Shaped(kind, value)
    assert shaped.document() == document


def test_a_result_does_not_change_with_what_it_was_made_of() -> None:
    """What several tasks returned is copied, not shared."""
    values: dict[str, Json] = {"a": 1}
    shaped = shape(["a", "b"], values)
    values["b"] = 2

    assert shaped.value == {"a": 1}
