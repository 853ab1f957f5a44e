"""What the JSON Schema of a param says of its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dag_inference_server.results.struct import Json

_NAMES: Mapping[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}
"""JSON Schema's names of the types."""


def types_of(schema: Any, default: Json = None) -> set[str] | None:
    """The types that a schema allows; `None` if it does not tell.

    Where it tells nothing, a default does, which is how most params are written.
    """
    if not isinstance(schema, Mapping):
        return None
    if types := schema.get("type"):
        return {types} if isinstance(types, str) else {*map(str, _list(types))}
    for keyword in ("anyOf", "oneOf"):
        if ways := _list(schema.get(keyword)):
            found = [types_of(way) for way in ways]
            return None if None in found else set().union(*(way or () for way in found))
    if values := _list(schema.get("enum")):
        return {_NAMES[type(value)] for value in values}
    if "const" in schema:
        return {_NAMES[type(schema["const"])]}
    return None if default is None else {_NAMES[type(default)]}


def may_be(name: str, schema: Any, default: Json = None) -> bool:
    """Whether a schema allows a type, as far as it tells."""
    types = types_of(schema, default)
    return types is None or name in types


def part_for(name: str, schema: Any) -> Mapping[str, Any]:
    """What a schema says of one type: of its ways, the first that names it, and what is beside."""
    if not isinstance(schema, Mapping):
        return {}
    if "type" not in schema:
        for keyword in ("anyOf", "oneOf"):
            for way in _list(schema.get(keyword)):
                if name in (types_of(way) or ()):
                    return {**schema, **part_for(name, way)}
    return schema


def _list(item: Any) -> list[Any]:
    """A list of a schema; none where its author has written something else."""
    return item if isinstance(item, list) else []
