"""Which confs break the params of a DAG, and how that is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dag_inference_server.airflow import Param
from dag_inference_server.catalog.conf_check import violations

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, -1.5, "", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)
INTEGER = {"type": "integer", "minimum": 1, "maximum": 10}
ORDER = {
    "type": "object",
    "properties": {
        "lines": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "required": ["sku", "unit price"]},
        }
    },
    "additionalProperties": False,
}


def told(
    schema: dict[str, Any], conf: dict[str, Any], default: Any = None, name: str = "p"
) -> list[str]:
    """What is said of a conf for a DAG with one param."""
    params = {name: Param(value=default, schema=schema)}
    return [f"{v.field} {v.description}" for v in violations(params, conf)]


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        (INTEGER, "1", "conf.p must be of type integer"),
        (INTEGER, 0, "conf.p must be at least 1"),
        (INTEGER, 11, "conf.p must be at most 10"),
        (INTEGER, True, "conf.p must be of type integer"),
        (INTEGER, None, "conf.p must be of type integer"),
        ({"type": ["null", "string"]}, 1, "conf.p must be of type null, string"),
        ({"enum": ["a", 1, None]}, "b", "conf.p must be one of: a, 1, null"),
        ({"const": {"a": 1}}, 1, 'conf.p must be {"a": 1}'),
        ({"exclusiveMinimum": 0}, 0, "conf.p must be more than 0"),
        ({"multipleOf": 0.5}, 0.75, "conf.p must be a multiple of 0.5"),
        ({"minLength": 2}, "a", "conf.p must have at least 2 characters"),
        ({"pattern": "^{x}$"}, "a", "conf.p must match ^{x}$"),
        ({"format": "date"}, "2026-02-30", "conf.p must be a valid date"),
        ({"anyOf": [{"type": "string"}]}, 1, 'conf.p breaks anyOf: {"type": "string"}'),
        (ORDER, {"lines": []}, "conf.p breaks minItems"),
        (ORDER, {"lines": [{"sku": 1}]}, 'conf.p.lines[0]["unit price"] is required'),
        (ORDER, {"other": 1}, "conf.p.other must not be there"),
        ({"additionalProperties": {"type": "null"}}, {"n": 1}, "conf.p.n must be of type null"),
        ({"uniqueItems": True}, [{"a": 1}, {"a": 1.0}], "conf.p must not have an item twice"),
    ],
    ids=str,
)
def test_a_value_that_breaks_its_schema(schema: dict[str, Any], value: Any, says: str) -> None:
    """In words of our own, by the path of the field, and without the value."""
    said = told(schema, {"p": value})

    assert said == [
        says.replace("conf.p breaks minItems", "conf.p.lines must have at least 1 items")
    ]


def test_everything_is_told_at_once() -> None:
    """Over all params and all that is wrong in each; each once."""
    params = {
        "a": Param(value=1, schema=INTEGER),
        "b.c": Param(schema={"type": "string"}),
        "d": Param(value={}, schema=ORDER),
    }
    conf: dict[str, Any] = {"a": 0.5, "d": {"lines": [{}, {"sku": 1}], "x": 1}}

    assert [v.field for v in violations(params, conf)] == [
        "conf.a",
        "conf.a",
        'conf["b.c"]',
        "conf.d.x",
        "conf.d.lines[0].sku",
        'conf.d.lines[0]["unit price"]',
        'conf.d.lines[1]["unit price"]',
    ]


def test_not_more_than_an_error_tells() -> None:
    """The first ten."""
    schema = {"type": "array", "items": {"type": "string"}}

    assert len(told(schema, {"p": [1] * 1000})) == 10


@pytest.mark.parametrize(
    ("schema", "default", "says"),
    [
        ({"type": "string"}, None, ["conf.p is required"]),
        ({"type": "string", "minLength": 1}, None, ["conf.p is required"]),
        ({"type": "string"}, "a", []),
        ({"type": ["null", "string"]}, None, []),
        ({}, None, []),
        # It was valid when Airflow parsed it.
        ({"type": "string"}, 1, []),
    ],
    ids=str,
)
def test_a_param_that_is_left_out(schema: dict[str, Any], default: Any, says: list[str]) -> None:
    """Is required if it has no default that its schema allows."""
    assert told(schema, {}, default) == says


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "no such type"}, 1),
        ({"pattern": "("}, "a"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, 1),
        ({"$ref": "#/nowhere"}, 1),
        # Only some installations know these formats.
        ({"format": "date-time"}, "yesterday"),
        ({"format": "duration"}, "an hour"),
        ({"format": "no such format"}, 1),
        ({"multipleOf": 0.01}, 10**400),
        ({"format": "regex"}, "a{99999999999999999999}"),
        ({"uniqueItems": True}, [1, True, "1", None, [1], {"a": 1}]),
    ],
    ids=str,
)
def test_what_cannot_be_judged_is_left_to_airflow(schema: dict[str, Any], value: Any) -> None:
    """Nothing that Airflow may accept is refused, and nothing is fetched."""
    assert told(schema, {"p": value, "unknown": value}) == []


def test_a_schema_is_read_as_the_draft_that_it_names() -> None:
    """`exclusiveMinimum` was a flag in draft 4."""
    draft4 = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "minimum": 1,
        "exclusiveMinimum": True,
    }

    assert len(told(draft4, {"p": 1})) == 1
    assert told(draft4, {"p": 2}) == []


@given(st.lists(JSON, max_size=6))
def test_items_that_are_there_twice(items: list[Any]) -> None:
    """As the library says, which compares each with each other."""
    schema = {"uniqueItems": True}

    assert bool(told(schema, {"p": items})) == (not Draft202012Validator(schema).is_valid(items))


def test_many_items_are_told_apart_quickly() -> None:
    """In a time that grows as they do: by the library's own way these take hours."""
    items = [{"a": number} for number in range(100_000)]

    assert told({"uniqueItems": True}, {"p": items}) == []
    assert len(told({"uniqueItems": True}, {"p": [*items, {"a": 7}]})) == 1
