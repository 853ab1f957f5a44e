"""Values that are kept as text: too large to be read where other calls would wait for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from dag_inference_server.results.struct import Json

QUICK = 64 * 1024
"""Bytes of JSON that are read, or made a message, within some milliseconds."""


@dataclass(frozen=True, slots=True)
class Written:
    """A value as the text of its JSON, every envelope in it opened."""

    text: bytes
    is_object: bool


Value: TypeAlias = Json | Written
"""What a task returned, read or as text; of a mapped one, a list of either."""


def written(value: Value) -> Value:
    """A value as text; `None` is short enough as it is."""
    if value is None or isinstance(value, Written):
        return value
    return Written(json.dumps(value).encode(), isinstance(value, dict))


def read(value: Value, constant: Callable[[str], Json] | None = None) -> Json:
    """A value, or those of a mapped task, of which some or all may be text.

    In text, `constant` makes something of the names of what is no number in JSON; else they are
    floats.
    """
    match value:
        case Written(text=text):
            document: Json = json.loads(text, parse_constant=constant)
            return document
        case list() if any(isinstance(item, Written) for item in value):
            return [read(item, constant) for item in value]
        case _:
            return value
