"""What a DAG takes and gives, as tensors: by its params, and by its `output:` tags."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

from dag_inference_server.results.struct import Json
from dag_inference_server.tensors.datatypes import (
    BOOL,
    BYTES,
    DATATYPES,
    FP64,
    INT64,
    Datatype,
)
from dag_inference_server.tensors.schema import part_for, types_of
from dag_inference_server.tensors.writing import tensor_of

ANY = -1
"""A dimension of any length."""

_TAG = re.compile(
    r"output:(?P<name>[^:]+):(?P<datatype>[A-Z0-9]+)(:(?P<shape>-?\d+(,-?\d+)*))?", re.ASCII
)
_LONGEST = 2**31
"""No list is as long."""

_DATATYPES = {"boolean": BOOL, "integer": INT64, "number": FP64}


@dataclass(frozen=True, slots=True)
class Declared:
    """A tensor as it will be."""

    datatype: Datatype
    shape: tuple[int, ...]


def outputs(tags: Iterable[str]) -> dict[str, Declared]:
    """The outputs that tags declare: `output:<name>:<datatype>`, or with a `:<shape>` after it.

    The shape is lengths with commas between them, -1 for any. Without, it is a scalar. A tag of
    another form declares nothing, nor does one with a length that no list has.
    """
    found = {}
    for tag in tags:
        match = _TAG.fullmatch(tag)
        if match and (datatype := DATATYPES.get(match["datatype"])):
            shape = tuple(map(int, match["shape"].split(","))) if match["shape"] else ()
            if all(ANY <= length < _LONGEST for length in shape):
                found[match["name"]] = Declared(datatype, shape)
    return found


def input_of(schema: Any, default: Json) -> Declared:
    """The tensor that suits a param best.

    A scalar is `[1]`, because most callers have no tensor without dimensions; both are taken.
    """
    if default is not None and types_of(schema) is None:
        own = tensor_of(default)
        if not own.is_json:
            return Declared(own.datatype, (ANY,) * len(own.shape) or (1,))
    datatype, shape = _of_schema(schema)
    return Declared(datatype, shape or (1,))


def _of_schema(schema: Any) -> tuple[Datatype, tuple[int, ...]]:
    """The datatype and the dimensions of what a schema describes; BYTES where it is no tensor."""
    types = (types_of(schema) or set()) - {"null"}
    if types != {"array"}:
        if types == {"integer", "number"}:
            return FP64, ()
        return _DATATYPES.get(next(iter(types), ""), BYTES) if len(types) == 1 else BYTES, ()
    chosen = part_for("array", schema)
    least, most = chosen.get("minItems"), chosen.get("maxItems")
    length = least if _is_length(least) and least == most else ANY
    datatype, shape = _of_schema(chosen.get("items"))
    return datatype, (length, *shape)


def _is_length(item: Any) -> TypeGuard[int]:
    """Whether a list can be as long; true, an integer to Python, is no length."""
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item < _LONGEST
