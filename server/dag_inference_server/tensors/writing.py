"""What a task returned, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dag_inference_server.results.struct import Json
from dag_inference_server.results.text import to_text
from dag_inference_server.tensors.datatypes import (
    BOOL,
    BYTES,
    FP64,
    INT64,
    UINT64,
    Datatype,
    Kind,
    pack,
    unpack,
)
from dag_inference_server.tensors.nesting import flattened

_EXACT = 2**53
"""Up to it, every integer is a double."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value as a tensor."""

    datatype: Datatype
    shape: tuple[int, ...]
    raw: bytes
    is_json: bool = False
    """Whether it is the JSON text of a value that is no tensor."""


def tensor_of(value: Json, declared: Datatype | None = None) -> Tensor:
    """A value as a tensor, from which `nested` makes it again.

    A scalar has no dimensions. Booleans are BOOL, integers INT64, or UINT64 if one of them needs
    it, other numbers FP64, texts BYTES in UTF-8, rectangular lists of one of these the same, and
    empty lists FP64. Anything else is the text of its JSON.

    Args:
        value: The value.
        declared: What the DAG's author has declared: taken if the value fits it.
    """
    flat = flattened(value)
    if flat is not None:
        elements, shape = flat
        own = _datatype_of(elements)
        for datatype in (declared, own):
            if datatype is not None and (raw := _packed(elements, own, datatype)) is not None:
                return Tensor(datatype, shape, raw)
            if declared == BYTES:
                break
    return Tensor(BYTES, (), pack(BYTES, [to_text(value).encode()]), is_json=True)


def _datatype_of(elements: Sequence[Any]) -> Datatype | None:
    """The datatype that holds them all without loss; `None` if none does."""
    kinds = {*map(type, elements)}
    if kinds <= {float}:
        return FP64
    if kinds == {int}:
        return INT64 if max(elements) <= INT64.highest else UINT64
    if kinds == {int, float}:
        return FP64 if all(map(_is_double, elements)) else None
    if kinds == {bool}:
        return BOOL
    return BYTES if kinds == {str} else None


def _packed(elements: Sequence[Any], own: Datatype | None, datatype: Datatype) -> bytes | None:
    """The elements in a datatype; `None` if they do not fit it."""
    if own is None or (elements and not _is_like(own, datatype)):
        return None
    try:
        match datatype.kind:
            case Kind.BYTES:
                return pack(datatype, [each.encode() for each in elements])
            case Kind.INTEGER if elements:
                if min(elements) < datatype.lowest or max(elements) > datatype.highest:
                    return None
        raw = pack(datatype, elements)
    except (OverflowError, UnicodeEncodeError):
        return None
    return raw if datatype.kind is not Kind.NUMBER or _is_whole(elements, datatype, raw) else None


def _is_whole(elements: Sequence[Any], datatype: Datatype, raw: bytes) -> bool:
    """Whether every integer has kept all of its digits: only other numbers are rounded."""
    if int not in {*map(type, elements)}:
        return True
    packed = unpack(datatype, len(elements), raw)
    return all(
        one == other or _may_be_float(one)
        for one, other in zip(elements, packed, strict=True)
        if isinstance(one, int)
    )


def _is_double(number: float) -> bool:
    """Whether it is a float, or an integer that FP64 holds exactly."""
    if isinstance(number, float) or abs(number) <= _EXACT:
        return True
    return abs(number) <= UINT64.highest and float(number) == number


def _may_be_float(integer: int) -> bool:
    """Whether it may be how PostgreSQL tells a large float, such as 1e17."""
    return abs(integer) > _EXACT and _is_double(integer)


def _is_like(own: Datatype, datatype: Datatype) -> bool:
    numbers = (Kind.INTEGER, Kind.NUMBER)
    return own.kind is datatype.kind or (own.kind in numbers and datatype.kind is Kind.NUMBER)
