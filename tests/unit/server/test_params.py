"""A DAG's params as one schema, and a conf to begin with."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dag_inference_server.airflow import Param
from dag_inference_server.catalog.conf_check import violations
from dag_inference_server.catalog.params import example_conf, params_schema


def params(**schemas: dict[str, Any]) -> dict[str, Param]:
    """Params without defaults."""
    return {name: Param(schema=schema) for name, schema in schemas.items()}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "minLength": 6}, "textxx"),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": "string", "format": "email"}, "somebody@example.com"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "number", "minimum": 0.5}, 0.5),
        ({"type": "boolean"}, False),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"enum": ["warm", "cold"]}, "warm"),
        ({"const": "only"}, "only"),
        ({"type": "string", "examples": ["Ada"]}, "Ada"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}, 1),
        (
            {
                "type": "object",
                "required": ["sku"],
                "properties": {"sku": {"type": "string"}, "n": {"type": "integer"}},
            },
            {"sku": "text"},
        ),
    ],
    ids=str,
)
def test_a_placeholder_fits(schema: dict[str, Any], value: object) -> None:
    """What has no default gets a value that its schema allows."""
    conf = example_conf(params(p=schema))

    assert conf == {"p": value}
    assert violations(params(p=schema), conf) == []


def test_defaults_are_shown() -> None:
    """A param that may be null is said to be: without a default, Airflow wants to be told."""
    known = {
        "given": Param(value=3, schema={"type": "integer"}),
        "null": Param(schema={"type": ["null", "integer"]}),
        "anything": Param(),
    }

    assert example_conf(known) == {"given": 3, "null": None, "anything": None}
    assert params_schema(known) == {
        "type": "object",
        "properties": {
            "given": {"type": "integer", "default": 3},
            "null": {"type": ["null", "integer"]},
            "anything": {},
        },
        "required": [],
    }


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "array", "prefixItems": [{"type": "number"}], "items": False}, []),
        ({"type": "array", "items": True, "minItems": 1}, [None]),
        ({"anyOf": [True, {"type": "string"}], "type": "string"}, None),
        ({"type": "object", "required": ["a"], "properties": {"a": True}}, {"a": None}),
        ({"type": "string", "minLength": 10**9}, "text".ljust(1000, "x")),
        ({"type": "array", "minItems": 10**9, "items": {"type": "null"}}, [None] * 1000),
    ],
    ids=str,
)
def test_schemas_that_are_no_objects_or_want_much(schema: dict[str, Any], value: object) -> None:
    """Give some placeholder, of a size that can be shown."""
    assert example_conf(params(p=schema)) == {"p": value}


def test_the_schema_says_what_the_check_says() -> None:
    """A reference into a param's own definitions still leads there in the whole."""
    known = params(**{"a b": {"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"}})
    whole = Draft202012Validator(params_schema(known))

    itself = params(c={"type": "object", "properties": {"c": {"$ref": "#"}}})
    assert not Draft202012Validator(params_schema(itself)).is_valid({"c": {"c": {"c": 1}}})
    for conf in ({"a b": 1}, {"a b": "1"}, {}, {"a b": 1, "more": 1}):
        assert whole.is_valid(conf) == (not violations(known, conf))


def test_a_description_of_the_param_is_one_of_its_schema() -> None:
    """The schema's own goes first."""
    known = {
        "a": Param(description="Why.", schema={"type": "null"}),
        "b": Param(description="Why.", schema={"type": "null", "description": "How."}),
    }
    properties: Any = params_schema(known)["properties"]

    assert [each["description"] for each in properties.values()] == ["Why.", "How."]
