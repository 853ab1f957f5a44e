"""A result as the outputs of an answer of the Open Inference Protocol."""

from __future__ import annotations

from typing import Any

import pytest

from dag_inference_server.edge.open_inference.outputs import (
    NoSuchOutputs,
    OutputsTooLarge,
    outputs_of,
)
from dag_inference_server.results.shape import ResultKind, Shaped


class Counting(dict[str, Any]):
    """An object that knows how many of its values were taken."""

    taken = 0

    def __getitem__(self, key: str) -> Any:
        """Take one."""
        self.taken += 1
        return super().__getitem__(key)


def test_a_result_of_too_many_keys() -> None:
    """It is made into tensors no further than the limit goes."""
    values = Counting({str(index): 0 for index in range(2000)})

    with pytest.raises(OutputsTooLarge):
        outputs_of(Shaped(ResultKind.OBJECT, values), (), {}, 25_000)

    assert 500 < values.taken < 1500


def test_outputs_that_are_not_there() -> None:
    """Nothing is made where one is wanted that is not there; those that are there are told."""
    values = Counting(a=1, b=2)

    with pytest.raises(NoSuchOutputs) as raised:
        outputs_of(Shaped(ResultKind.OBJECT, values), ("a", "c"), {}, 25_000)

    assert raised.value.args == ((1,), ("a", "b"))
    assert values.taken == 0
