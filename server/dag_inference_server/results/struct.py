"""JSON to `google.protobuf.Struct`, without loss that is not announced."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None
"""A JSON value as `json.loads` makes it."""

MAX_SAFE_INTEGER = 2**53 - 1
"""Beyond it, doubles skip integers (RFC 8259, section 6)."""

MAX_DEPTH = 30
"""Levels of objects and lists in a Struct.

Protobuf readers stop at 100 nested messages (`CodedInputStream`'s default in C++, Java
and upb). An object takes three (Struct, its map's entry, Value), and a stream's event
has two around the Struct.
"""


class TooDeep(Exception):
    """A value is nested deeper than a protobuf reader can decode. The message says how deep."""


class TooLarge(Exception):
    """A Struct would be larger than it may be."""


def to_struct(document: Mapping[str, Json], max_bytes: int) -> Struct:
    """Turn a JSON object into a Struct.

    Integers beyond ±(2^53 - 1) become decimal strings, as proto3's own JSON mapping does
    for 64-bit integers, and NaN and the infinities their names, as it does for doubles: a
    Struct may hold none.

    Raises:
        TooDeep: It is nested deeper than `MAX_DEPTH`.
        TooLarge: It would have more than `max_bytes` bytes, which is known before they are
            made: a short JSON text can make a Struct ten times as long.
    """
    if (depth := depth_of(document)) > MAX_DEPTH:
        raise TooDeep(f"nested {depth} deep, more than {MAX_DEPTH}")
    struct = Struct()
    _Filling(max_bytes).struct(struct, document)
    return struct


class _Filling:
    """Fills messages in place: what is made first and moved later is copied at every level."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes

    def struct(self, struct: Struct, document: Mapping[str, Json]) -> None:
        fields = struct.fields
        for key, item in document.items():
            self._spend(_ENTRY + len(key))
            self._value(fields[key], item)

    def _value(self, value: Value, item: Json) -> None:
        match item:
            case None:
                value.null_value = NULL_VALUE
            case bool():
                value.bool_value = item
            case int() if abs(item) > MAX_SAFE_INTEGER:
                self._text(value, str(item))
            case float() if not math.isfinite(item):
                self._text(value, name_of(item))
            case int() | float():
                self._spend(_NUMBER)
                value.number_value = item
            case str():
                self._text(value, item)
            case list():
                # A list without elements is one all the same.
                value.list_value.SetInParent()
                add = value.list_value.values.add
                for inner in item:
                    self._spend(_ELEMENT)
                    self._value(add(), inner)
            case dict():
                value.struct_value.SetInParent()
                self.struct(value.struct_value, item)

    def _text(self, value: Value, text: str) -> None:
        self._spend(len(text))
        value.string_value = text

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooLarge


# Bytes of messages at least, each with its tag and its length: an entry of a map with its key
# and its value, an element of a list, both with the two bytes of the least value; and what a
# number takes beyond those two.
_ENTRY, _ELEMENT, _NUMBER = 8, 4, 7


def name_of(number: float) -> str:
    """What NaN and the infinities are called in proto3's JSON, and by Python, too."""
    return json.dumps(number)


def depth_of(document: object) -> int:
    """Levels of objects and lists: 0 for a scalar, 1 for `{}`."""
    depth, level = 0, [document]
    # Not by `Mapping`: to ask that of each of a million numbers takes longer than all else.
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [
            inner for item in level for inner in (item if isinstance(item, list) else item.values())
        ]
    return depth
