"""A Struct as the plain Python value that was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct, Value

_LARGEST_EXACT = 2**53 - 1
"""Up to here every integer is a double of its own (`Number.MAX_SAFE_INTEGER`)."""


def plain_dict(struct: Struct) -> dict[str, Any]:
    """Read an object. Integral numbers within ±(2^53 - 1) become integers."""
    return {key: _plain(value) for key, value in struct.fields.items()}


def _plain(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            return _number(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return plain_dict(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case _:
            return None


def _number(number: float) -> int | float:
    exact = number.is_integer() and abs(number) <= _LARGEST_EXACT
    return int(number) if exact else number
