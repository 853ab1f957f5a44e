"""JSON to `google.protobuf.Struct` and back, and JSON text that is taken exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.results.struct import (
    MAX_CONF_DEPTH,
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    Json,
    canonical,
    depth_of,
    from_struct,
    parse_object,
    to_struct,
)

SAFE = MAX_SAFE_INTEGER


def nested(depth: int, kind: str) -> dict[str, Any]:
    """An object so many levels deep, of objects or of lists."""
    value: Any = {"leaf": 1} if kind == "objects" else [1]
    for _ in range(depth - 2):
        value = {"a": value} if kind == "objects" else [value]
    return {"a": value}


def sent(document: dict[str, Json]) -> Struct:
    """What a caller gets of a Struct that is sent at the end of a stream."""
    event = pb.InvokeStreamResponse(result=pb.InvokeResponse(result=to_struct(document)))
    return pb.InvokeStreamResponse.FromString(event.SerializeToString()).result.result


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (0, 0),
        (-1, -1),
        (SAFE, SAFE),
        (-SAFE, -SAFE),
        (SAFE + 1, str(SAFE + 1)),
        (-SAFE - 1, str(-SAFE - 1)),
        (SAFE + 2, str(SAFE + 2)),
        (2**63, "9223372036854775808"),
        (10**40, "1" + "0" * 40),
        (0.1, 0.1),
        (-0.0, 0),
        (1.0, 1),
        (1e22, 1e22),
        (5e-324, 5e-324),
        (1.7976931348623157e308, 1.7976931348623157e308),
        (None, None),
        (True, True),
        (False, False),
        ("", ""),
        ("é 漢字 🐘 \x00", "é 漢字 🐘 \x00"),
        ([], []),
        ({}, {}),
        ([1, [None, {"": [True]}]], [1, [None, {"": [True]}]]),
    ],
    ids=repr,
)
def test_a_value_arrives_as_it_was_but_for_the_number_rule(value: Json, arrives: Json) -> None:
    """Integers beyond ±(2^53 - 1) are decimal strings, so that none is rounded unseen."""
    received = from_struct(sent({"": value}))

    assert received == {"": arrives}
    assert type(received[""]) is type(arrives)


def test_integers_and_booleans_are_not_confused() -> None:
    """`True` is no 1 on the wire, although it is in Python."""
    received = from_struct(sent({"yes": True, "one": 1}))

    assert [type(value) for value in received.values()].count(bool) == 1
    assert received["yes"] is True


def by_number_rule(value: Json) -> Json:
    """What the contract says that a JSON value arrives as."""
    match value:
        case bool():
            return value
        case int() if abs(value) > SAFE:
            return str(value)
        case float() if value.is_integer() and abs(value) <= SAFE:
            return int(value)
        case list():
            return [by_number_rule(item) for item in value]
        case dict():
            return {key: by_number_rule(item) for key, item in value.items()}
        case _:
            return value


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(SAFE - 2, SAFE + 2)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)
json_objects = st.dictionaries(st.text(), json_values)


@given(json_objects)
def test_any_object_comes_back_by_the_number_rule(document: dict[str, Any]) -> None:
    """Nothing else is lost or changed on the way, and any protobuf library can print it."""
    struct = sent(document)
    received = from_struct(struct)

    assert json_format.MessageToJson(struct)
    assert json.dumps(received, sort_keys=True) == json.dumps(
        by_number_rule(document), sort_keys=True
    )


@pytest.mark.parametrize("kind", ["objects", "lists"])
@pytest.mark.parametrize("depth", [2, 29, 30])
def test_what_is_allowed_can_be_read_by_every_caller(depth: int, kind: str) -> None:
    """The deepest result that goes out is one that protobuf's readers take, in a stream too."""
    document = nested(depth, kind)

    assert depth_of(document) == depth
    assert from_struct(sent(document)) == document


@pytest.mark.parametrize("kind", ["objects", "lists"])
def test_what_is_nested_deeper_is_refused(kind: str) -> None:
    """It would encode, and then no caller could read it."""
    with pytest.raises(ValueError, match=f"nested 31 deep, more than {MAX_DEPTH}"):
        to_struct(nested(MAX_DEPTH + 1, kind))


def test_a_caller_cannot_read_what_is_much_deeper() -> None:
    """Why there is a limit: a Struct of 34 objects encodes, and does not decode."""
    struct = Struct()
    json_format.ParseDict(nested(34, "objects"), struct)

    with pytest.raises(DecodeError):
        Struct.FromString(struct.SerializeToString())


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("struct", "path"),
    [
        (lambda bad: Struct(fields={"a": bad}), "a"),
        (
            lambda bad: Struct(
                fields={"a": Value(list_value=ListValue(values=[Value(bool_value=True), bad]))}
            ),
            r"a\[1\]",
        ),
        (
            lambda bad: Struct(fields={"a": Value(struct_value=Struct(fields={"b": bad}))}),
            r"a\.b",
        ),
    ],
    ids=["top", "list", "object"],
)
def test_what_is_no_json_number_is_refused_by_the_path_of_its_field(
    number: float, struct: Callable[[Value], Struct], path: str
) -> None:
    """NaN and the infinities are doubles, and no JSON."""
    with pytest.raises(ValueError, match=f"^{path}: -?(nan|inf) is no JSON number$"):
        from_struct(struct(Value(number_value=number)))


def test_a_value_that_is_not_set_is_refused_by_the_path_of_its_field() -> None:
    """A Value without a kind says nothing, not null."""
    with pytest.raises(ValueError, match=r"^a\[0\]: the value is unset$"):
        from_struct(Struct(fields={"a": Value(list_value=ListValue(values=[Value()]))}))


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("{}", {}),
        (' {"a": 9223372036854775808} ', {"a": 2**63}),
        ('{"a": 1.0, "b": 1e2, "c": -0.0}', {"a": 1.0, "b": 100.0, "c": -0.0}),
        (r'{"a": "\ud83d\ude00"}', {"a": "😀"}),
        ('{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_the_text_of_an_object_is_taken_exactly(text: str, document: dict[str, Json]) -> None:
    """Integers stay integers however long, floats floats; the last of two like keys counts."""
    assert repr(parse_object(text)) == repr(document)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON, from line 1"),
        ("{", "no JSON, from line 1"),
        ("{'a': 1}", "no JSON, from line 1"),
        ('{"a": 1} x', "no JSON, from line 1, column 10"),
        ('{"a": 01}', "no JSON, from line 1"),
        ("[]", "no JSON object"),
        ("null", "no JSON object"),
        ('"{}"', "no JSON object"),
        ("1", "no JSON object"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": [Infinity]}', "Infinity is no JSON number"),
        ('{"a": -Infinity}', "-Infinity is no JSON number"),
        ('{"a": 1e400}', "1e400 is beyond a double"),
        ('{"a": -1e400}', "-1e400 is beyond a double"),
        (r'{"a": "\ud83d"}', "lone surrogate"),
        (r'{"\udc00": 1}', "lone surrogate"),
        ('{"a": "\ud83d"}', "lone surrogate"),
        ('{"a": ' + "9" * 5000 + "}", "too long"),
        ('{"a":' * 101 + "1" + "}" * 101, f"deeper than {MAX_CONF_DEPTH} levels"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", f"deeper than {MAX_CONF_DEPTH} levels"),
        ("[" * 100_000, f"deeper than {MAX_CONF_DEPTH} levels"),
    ],
    ids=lambda text: text[:20],
)
def test_what_json_cannot_say_again_is_refused(text: str, why: str) -> None:
    """Before a run is made, and in words that say why."""
    with pytest.raises(ValueError, match=why):
        parse_object(text)


@pytest.mark.parametrize("kind", ["objects", "lists"])
def test_whatever_conf_is_taken_can_be_compared(kind: str) -> None:
    """The deepest conf that is allowed still has its one text."""
    document = nested(MAX_CONF_DEPTH, kind)

    assert json.loads(canonical(parse_object(json.dumps(document)))) == document


@given(json_objects)
def test_what_python_writes_is_taken(document: dict[str, Any]) -> None:
    """Any JSON object is, as long as its text is."""
    assert parse_object(json.dumps(document)) == document


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 1.0}),
        ({"a": 0}, {"a": -0.0}),
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}),
        ({"a": [1.0, {"b": 2.0}]}, {"a": [1, {"b": 2}]}),
        ({"a": 1e2}, {"a": 100}),
    ],
)
def test_equal_json_has_one_text(one: Json, other: Json) -> None:
    """Key order aside, and however a number is written."""
    assert canonical(one) == canonical(other)


DIFFERENT: list[Json] = [
    {},
    {"a": None},
    {"a": False},
    {"a": 0},
    {"a": True},
    {"a": 1},
    {"a": "1"},
    {"a": 1.5},
    {"a": ""},
    {"a": []},
    {"a": {}},
    {"a": [1, 2]},
    {"a": [2, 1]},
    {"b": 1},
    {"a": 2**53},
    {"a": 2**53 + 1},
    {"a": "é"},
    {"a": "e\u0301"},
]


def test_different_json_has_different_texts() -> None:
    """1 is not true, nor "1"; an absent key is not null; lists have an order."""
    assert len({canonical(document) for document in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize(
    ("document", "depth"),
    [(1, 0), ({}, 1), ([], 1), ({"a": []}, 2), ({"a": 1, "b": [{"c": 1}]}, 3), ("text", 0)],
)
def test_depth_counts_objects_and_lists(document: Json, depth: int) -> None:
    """The deepest branch counts, and a scalar is no level."""
    assert depth_of(document) == depth
