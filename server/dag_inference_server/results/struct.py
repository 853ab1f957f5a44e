"""JSON and `google.protobuf.Struct`, without loss that is not announced."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn, TypeAlias

from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value

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


_MAX_DIGITS = 4000
"""Of an integer: Python reads 4300 (`sys.int_info.default_max_str_digits`)."""

MAX_CONF_DEPTH = 100
"""Levels of objects and lists in a conf: well below what Python's own recursion bears."""

_TOO_DEEP = f"it is nested deeper than {MAX_CONF_DEPTH} levels"


def to_struct(document: Mapping[str, Json]) -> Struct:
    """Turn a JSON object into a Struct.

    Integers beyond ±(2^53 - 1) become decimal strings, as proto3's own JSON mapping does
    for 64-bit integers.

    Raises:
        ValueError: It is nested deeper than `MAX_DEPTH`.
    """
    if (depth := depth_of(document)) > MAX_DEPTH:
        raise ValueError(f"nested {depth} deep, more than {MAX_DEPTH}")
    return Struct(fields={key: _to_value(item) for key, item in document.items()})


def _to_value(value: Json) -> Value:
    match value:
        case None:
            return Value(null_value=NULL_VALUE)
        case bool():
            return Value(bool_value=value)
        case int() if abs(value) > MAX_SAFE_INTEGER:
            return Value(string_value=str(value))
        case int() | float():
            return Value(number_value=value)
        case str():
            return Value(string_value=value)
        case list():
            return Value(list_value=ListValue(values=[_to_value(item) for item in value]))
        case dict():
            fields = {key: _to_value(item) for key, item in value.items()}
            return Value(struct_value=Struct(fields=fields))


def from_struct(struct: Struct) -> dict[str, Json]:
    """Turn a Struct into a JSON object.

    Integral numbers within ±(2^53 - 1) become integers, and -0.0 becomes 0: most
    callers have no way to send an integer as one, and params want integers.

    Raises:
        ValueError: A number is NaN or infinite, or a value is unset. The message
            starts with the path of the field.
    """
    return {key: _from_value(item, key) for key, item in struct.fields.items()}


def _from_value(value: Value, path: str) -> Json:
    match value.WhichOneof("kind"):
        case "null_value":
            return None
        case "bool_value":
            return value.bool_value
        case "number_value":
            return _from_number(value.number_value, path)
        case "string_value":
            return value.string_value
        case "list_value":
            items = enumerate(value.list_value.values)
            return [_from_value(item, f"{path}[{index}]") for index, item in items]
        case "struct_value":
            fields = value.struct_value.fields.items()
            return {key: _from_value(item, f"{path}.{key}") for key, item in fields}
        case _:
            raise ValueError(f"{path}: the value is unset")


def _from_number(number: float, path: str) -> int | float:
    if not math.isfinite(number):
        raise ValueError(f"{path}: {number} is no JSON number")
    if number.is_integer() and abs(number) <= MAX_SAFE_INTEGER:
        return int(number)
    return number


def parse_object(text: str) -> dict[str, Json]:
    """Read the text of one JSON object, exactly.

    Raises:
        ValueError: It is none, or holds what JSON cannot say again: NaN, infinities,
            numbers beyond a double, lone surrogates, more than `MAX_CONF_DEPTH` levels.
    """
    try:
        document = json.loads(
            text, parse_constant=_no_number, parse_float=_finite, parse_int=_integer
        )
        # Found here rather than when the text is sent to Airflow.
        json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(
            f"it is no JSON, from line {error.lineno}, column {error.colno} on"
        ) from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except UnicodeEncodeError:
        raise ValueError("it holds a lone surrogate, which is no text") from None
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004
    if depth_of(document) > MAX_CONF_DEPTH:
        raise ValueError(_TOO_DEEP)
    return document


def canonical(document: Json) -> str:
    """One text for each JSON value: key order aside, 1 and 1.0 alike, 1 and true not."""
    return json.dumps(_plainest(document), sort_keys=True, separators=(",", ":"))


def _plainest(value: Json) -> Json:
    match value:
        case float() if value.is_integer():
            # As PostgreSQL's JSONB reads 6.022e23, which is not the double's own value.
            return int(Decimal(repr(value)))
        case list():
            return [_plainest(item) for item in value]
        case dict():
            return {key: _plainest(item) for key, item in value.items()}
        case _:
            return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits is too long")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is beyond a double")
    return number


def holds_nul(document: Json) -> bool:
    """Whether a text in it holds U+0000, which PostgreSQL cannot store."""
    match document:
        case str():
            return "\0" in document
        case list():
            return any(holds_nul(item) for item in document)
        case dict():
            return any("\0" in key or holds_nul(item) for key, item in document.items())
        case _:
            return False


def depth_of(document: object) -> int:
    """Levels of objects and lists: 0 for a scalar, 1 for `{}`."""
    depth, level = 0, [document]
    while level := [item for item in level if isinstance(item, dict | list | Mapping)]:
        depth += 1
        level = [
            inner for item in level for inner in (item if isinstance(item, list) else item.values())
        ]
    return depth
