"""The datatypes of the Open Inference Protocol, and how their elements lie in bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What the elements of a datatype are."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Datatype:
    """A datatype."""

    name: str
    kind: Kind
    size: int
    """Bytes of an element; 0 if each has its own length."""
    field: str | None
    """Where a message has its elements; `None` if only raw contents do."""
    code: str = ""
    """Of Python's `struct`."""
    is_signed: bool = False

    @property
    def lowest(self) -> int:
        """Of an integer."""
        return -(1 << 8 * self.size - 1) if self.is_signed else 0

    @property
    def highest(self) -> int:
        """Of an integer."""
        return (1 << 8 * self.size - self.is_signed) - 1


def _integer(name: str, size: int, field: str, code: str) -> Datatype:
    return Datatype(name, Kind.INTEGER, size, field, code, is_signed=name.startswith("INT"))


BOOL = Datatype("BOOL", Kind.BOOLEAN, 1, "bool_contents", "?")
INT64 = _integer("INT64", 8, "int64_contents", "q")
UINT64 = _integer("UINT64", 8, "uint64_contents", "Q")
FP64 = Datatype("FP64", Kind.NUMBER, 8, "fp64_contents", "d")
BF16 = Datatype("BF16", Kind.NUMBER, 2, None)
BYTES = Datatype("BYTES", Kind.BYTES, 0, "bytes_contents")

DATATYPES: Mapping[str, Datatype] = {
    datatype.name: datatype
    for datatype in (
        BOOL,
        _integer("UINT8", 1, "uint_contents", "B"),
        _integer("UINT16", 2, "uint_contents", "H"),
        _integer("UINT32", 4, "uint_contents", "I"),
        UINT64,
        _integer("INT8", 1, "int_contents", "b"),
        _integer("INT16", 2, "int_contents", "h"),
        _integer("INT32", 4, "int_contents", "i"),
        INT64,
        Datatype("FP16", Kind.NUMBER, 2, None, "e"),
        Datatype("FP32", Kind.NUMBER, 4, "fp32_contents", "f"),
        FP64,
        BF16,
        BYTES,
    )
}


_INFINITY = 0x7F800000
"""As an FP32."""


class NoElements(ValueError):
    """The bytes are not those of so many elements. The message says why."""


def unpack(datatype: Datatype, count: int, raw: bytes) -> list[Any]:
    """The elements of raw contents: little endian; BYTES each after its length in four bytes.

    Raises:
        NoElements: They are not so many.
    """
    if datatype == BYTES:
        return _unpack_bytes(count, raw)
    if len(raw) != count * datatype.size:
        raise NoElements(f"has {len(raw)} bytes, and must have {count * datatype.size}")
    if datatype == BF16:
        # The upper half of an FP32.
        whole = bytearray(2 * len(raw))
        whole[2::4], whole[3::4] = raw[0::2], raw[1::2]
        return [*struct.unpack(f"<{count}f", whole)]
    return [*struct.unpack(f"<{count}{datatype.code}", raw)]


def pack(datatype: Datatype, elements: Sequence[Any]) -> bytes:
    """The inverse. Numbers are rounded to what the datatype holds.

    Raises:
        OverflowError: A number is too large for it.
    """
    if datatype == BYTES:
        return b"".join(struct.pack("<I", len(each)) + each for each in elements)
    if datatype.kind is Kind.NUMBER:
        # An integer that is too large is another error to `struct`.
        elements = [*map(float, elements)]
    if datatype == BF16:
        return _pack_bf16(elements)
    return struct.pack(f"<{len(elements)}{datatype.code}", *elements)


def _unpack_bytes(count: int, raw: bytes) -> list[bytes]:
    elements: list[bytes] = []
    at = 0
    while at < len(raw):
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "little")
        if start > len(raw) or at > len(raw):
            raise NoElements(f"ends within element {len(elements)}")
        elements.append(raw[start:at])
    if len(elements) != count:
        raise NoElements(f"has {len(elements)} elements, and must have {count}")
    return elements


def _pack_bf16(elements: Sequence[float]) -> bytes:
    count = len(elements)
    words = struct.unpack(f"<{count}I", struct.pack(f"<{count}f", *elements))
    return struct.pack(f"<{count}H", *map(_upper_half, words))


def _upper_half(word: int) -> int:
    """Of an FP32, rounded to the nearest, to even where two are as near.

    Raises:
        OverflowError: A finite number would be infinite.
    """
    magnitude = word & 0x7FFFFFFF
    if magnitude > _INFINITY:
        # No number: it must not be rounded to infinity.
        return word >> 16 | 0x40
    if _INFINITY - 0x8000 <= magnitude < _INFINITY:
        raise OverflowError("too large for BF16")
    return (word + 0x7FFF + (word >> 16 & 1)) >> 16
