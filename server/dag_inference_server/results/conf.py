"""A caller's conf: Struct or text to plain JSON, and what of it cannot go to Airflow."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import TypeAlias

from google.protobuf.struct_pb2 import Struct, Value

from dag_inference_server.results.leaves import with_leaves
from dag_inference_server.results.struct import MAX_SAFE_INTEGER, Json, depth_of

MAX_CONF_DEPTH = 100
"""Levels of objects and lists in a conf: well below what Python's own recursion bears."""

_MAX_DIGITS = 4000
"""Of an integer: Python reads 4300 (`sys.int_info.default_max_str_digits`)."""

_LOWEST, _HIGHEST = -(2**63), 2**64 - 1
"""Of a number that reaches a task. Airflow's supervisor hands others to none, and the task fails
without a word (msgpack, `sdk/execution_time/comms.py`): integers, and also floats, which PostgreSQL
keeps as the integers that they are."""

_MAX_FAULTS = 10
"""More than an error tells."""

_TOO_DEEP = f"is nested deeper than {MAX_CONF_DEPTH} levels"
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a conf, and where."""

    path: str
    """From the conf on, such as `.lines[0]["unit.price"]`; empty for the conf itself."""
    why: str


class NoConf(ValueError):
    """It cannot be read as a conf at all."""

    def __init__(self, path: str, why: str) -> None:
        """Say where, and why."""
        super().__init__(f"{path}: {why}")
        self.fault = Fault(path, why)


def step(key: str | int) -> str:
    """One step of a path: into an object or into a list."""
    if isinstance(key, int):
        return f"[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f".{key}"
    # What is no text is told as JSON would write it, which is.
    return f"[{json.dumps(key, ensure_ascii=_SURROGATE.search(key) is not None)}]"


_Path: TypeAlias = "tuple[_Path, str | int] | None"
"""The steps, the last one first: written down only where something is wrong."""


def _written(path: _Path) -> str:
    steps = []
    while path is not None:
        path, key = path
        steps.append(step(key))
    return "".join(reversed(steps))


def from_struct(struct: Struct) -> dict[str, Json]:
    """Turn a Struct into a JSON object.

    Integral numbers within ±(2^53 - 1) become integers, and -0.0 becomes 0: most
    callers have no way to send an integer as one, and params want integers.

    Raises:
        NoConf: A value is unset.
    """
    return {key: _from_value(item, (None, key)) for key, item in struct.fields.items()}


def _from_value(value: Value, path: _Path) -> Json:
    match value.WhichOneof("kind"):
        case "null_value":
            return None
        case "bool_value":
            return value.bool_value
        case "number_value":
            number = value.number_value
            if number.is_integer() and abs(number) <= MAX_SAFE_INTEGER:
                return int(number)
            return number
        case "string_value":
            return value.string_value
        case "list_value":
            items = enumerate(value.list_value.values)
            return [_from_value(item, (path, index)) for index, item in items]
        case "struct_value":
            fields = value.struct_value.fields.items()
            return {key: _from_value(item, (path, key)) for key, item in fields}
        case _:
            raise NoConf(_written(path), "the value is unset")


def from_text(text: str) -> dict[str, Json]:
    """Read the text of one JSON object, exactly.

    Raises:
        NoConf: It is none, or one of more than `MAX_CONF_DEPTH` levels, with an integer of more
            than 4,000 digits, or with a key twice in one object.
    """
    document = value_from_text(text, "")
    if not isinstance(document, dict):
        raise NoConf("", "is no JSON object")
    return document


def value_from_text(text: str, path: str) -> Json:
    """Read the text of one JSON value, which is to stand at `path`, as `from_text`.

    Raises:
        NoConf: As there, at that path.
    """
    try:
        document: Json = json.loads(text, parse_int=_integer, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        where = f"from line {error.lineno}, column {error.colno} on"
        raise NoConf(path, f"is no JSON, {where}") from None
    except RecursionError:
        raise NoConf(path, _TOO_DEEP) from None
    except NoConf as error:
        raise NoConf(path, error.fault.why) from None
    if depth_of(document) > MAX_CONF_DEPTH:
        raise NoConf(path, _TOO_DEEP)
    return document


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NoConf("", f"holds an object that has the key {json.dumps(twice[:100])} twice")
    return found


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise NoConf("", f"holds an integer of {len(text)} digits, more than {_MAX_DIGITS}")
    return int(text)


def faults(conf: Json) -> list[Fault]:
    """What JSON or Airflow's database cannot hold: the first few, in the order of the conf."""
    return list(islice(_faults(conf, None), _MAX_FAULTS))


def _faults(item: Json, path: _Path) -> Iterator[Fault]:
    match item:
        case float() if not math.isfinite(item):
            # Where a text said 1e400, this is what became of it.
            yield Fault(
                _written(path), "is no JSON number: it is NaN, infinite, or beyond a double"
            )
        case int() | float() if not _LOWEST <= _stored(item) <= _HIGHEST:
            yield Fault(
                _written(path), "is beyond -2^63 or 2^64 - 1, and Airflow hands it to no task"
            )
        case str():
            yield from _faults_of_text(item, path, "holds")
        case list():
            for index, inner in enumerate(item):
                yield from _faults(inner, (path, index))
        case dict():
            for key, inner in item.items():
                yield from _faults_of_text(key, path, "has a key with")
                yield from _faults(inner, (path, key))
        case _:
            pass


def _faults_of_text(text: str, path: _Path, holds: str) -> Iterator[Fault]:
    if "\0" in text:
        yield Fault(_written(path), f"{holds} the character U+0000, which cannot be stored")
    if not text.isascii() and _SURROGATE.search(text):
        yield Fault(_written(path), f"{holds} a lone surrogate, which is no text")


def _stored(number: float) -> int | float:
    """A number as PostgreSQL keeps it: -2^63 as a float has the digits of a lesser integer."""
    if isinstance(number, int) or abs(number) < _HIGHEST / 4:
        return number
    return int(Decimal(repr(number)))


def canonical(document: Json) -> str:
    """One text for each JSON value: key order aside, 1 and 1.0 alike, 1 and true not."""
    return json.dumps(with_leaves(document, _plainest), sort_keys=True, separators=(",", ":"))


def _plainest(leaf: Json) -> Json:
    # As PostgreSQL's JSONB reads 6.022e23, which is not the double's own value.
    is_whole = isinstance(leaf, float) and leaf.is_integer()
    return int(Decimal(repr(leaf))) if is_whole else leaf
