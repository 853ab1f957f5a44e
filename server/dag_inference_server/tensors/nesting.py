"""Shapes: elements in a row, and the nested lists that they are in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any

from dag_inference_server.results.struct import Json

MAX_RANK = 64
"""Dimensions: as many as numpy bears, and few enough for a conf."""


def why_no_shape(shape: Sequence[int]) -> str | None:
    """What is wrong with a shape; `None` if nothing is."""
    if len(shape) > MAX_RANK:
        return f"has {len(shape)} dimensions, more than {MAX_RANK}"
    if any(length < 0 for length in shape):
        return "must not have a negative dimension"
    return None


def spare_lists(shape: Sequence[int]) -> int:
    """How many lists there are within a shape beyond one for each element; 0 if it is none.

    A shape of some bytes, `[1000000000, 0]`, can ask for any number.
    """
    if why_no_shape(shape) is not None:
        return 0
    lists: int = sum(accumulate(shape[:-1], mul))
    return max(0, lists - prod(shape))


def nested(elements: list[Any], shape: Sequence[int]) -> Json:
    """The elements as nested lists; the one element itself if there are no dimensions."""
    if not shape:
        return elements[0]  # type: ignore[no-any-return]
    for axis in range(len(shape) - 1, 0, -1):
        length = shape[axis]
        elements = [
            elements[start * length : (start + 1) * length] for start in range(prod(shape[:axis]))
        ]
    return elements


def flattened(value: Json) -> tuple[list[Any], tuple[int, ...]] | None:
    """The inverse; `None` for lists that are not rectangular, or too deep."""
    level: list[Any] = [value]
    shape: list[int] = []
    while level and all(isinstance(item, list) for item in level):
        lengths = {len(item) for item in level}
        if len(lengths) > 1 or len(shape) == MAX_RANK:
            return None
        shape += lengths
        level = [inner for item in level for inner in item]
    return level, tuple(shape)
