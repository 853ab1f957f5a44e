"""A DAG's params as its callers see them: one JSON Schema, and a conf that fits it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from dag_inference_server.airflow import Param
from dag_inference_server.catalog.conf_check import violations
from dag_inference_server.results.struct import Json

_SAMPLES: Mapping[str, str] = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "somebody@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
"""Texts of formats, from the names and addresses that are kept for examples (RFC 2606, 5737)."""


_LONGEST = 1000
"""Characters or items of a placeholder. Nobody begins with more."""


def params_schema(params: Mapping[str, Param]) -> dict[str, Json]:
    """The schema of the conf object. It allows other keys, as Airflow does."""
    return {
        "type": "object",
        "properties": {name: _property(name, param) for name, param in params.items()},
        "required": [name for name, param in params.items() if _is_required(name, param)],
    }


def example_conf(params: Mapping[str, Param]) -> dict[str, Json]:
    """A conf that works: every default, and something for what has none.

    Airflow tells `null` of a param without a default, and does not make a run without a value for
    it, so that one which may be `null` is said to be.
    """
    return {
        name: _placeholder(param.schema_) if _is_required(name, param) else param.value
        for name, param in params.items()
    }


def _is_required(name: str, param: Param) -> bool:
    return param.value is None and bool(violations({name: param}, {}))


def _property(name: str, param: Param) -> dict[str, Json]:
    schema: dict[str, Json] = dict(param.schema_)
    if param.description and "description" not in schema:
        schema["description"] = param.description
    if param.value is not None:
        schema["default"] = param.value
    if '"$ref"' in json.dumps(schema):
        # A document of its own, so that its references still lead into itself.
        schema.setdefault("$id", f"urn:param:{quote(name, safe='')}")
    return schema


def _placeholder(schema: Any) -> Json:
    """A value for a schema that is not too clever."""
    if not isinstance(schema, Mapping):
        # `true`, which any value fits, and `false`, which none does.
        return None
    for keyword in ("examples", "enum"):
        if schema.get(keyword):
            return schema[keyword][0]  # type: ignore[no-any-return]
    if "const" in schema:
        return schema["const"]  # type: ignore[no-any-return]
    for keyword in ("anyOf", "oneOf"):
        if schema.get(keyword):
            return _placeholder(schema[keyword][0])
    return _of_type(schema)


def _of_type(schema: Mapping[str, Any]) -> Json:
    match _type(schema):
        case "string":
            sample = _SAMPLES.get(str(schema.get("format")), "text")
            return sample.ljust(min(int(schema.get("minLength", 0)), _LONGEST), "x")
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case "array":
            return [_placeholder(schema.get("items", {}))] * min(
                int(schema.get("minItems", 0)), _LONGEST
            )
        case "object":
            properties = schema.get("properties", {})
            required = schema.get("required", ())
            return {key: _placeholder(properties.get(key, {})) for key in required}
        case _:
            return None


def _type(schema: Mapping[str, Any]) -> str | None:
    types = schema.get("type")
    if isinstance(types, list):
        return next((each for each in types if each != "null"), None)
    return types


def _number(schema: Mapping[str, Any]) -> int | float:
    lowest: int | float = 0
    if "exclusiveMinimum" in schema:
        lowest = max(lowest, schema["exclusiveMinimum"] + 1)
    if "minimum" in schema:
        lowest = max(lowest, schema["minimum"])
    highest: int | float = schema.get("maximum", lowest)
    return min(lowest, highest)
