"""JSON to `google.protobuf.Struct`."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.results.conf import from_struct
from dag_inference_server.results.struct import (
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    Json,
    TooDeep,
    TooLarge,
    depth_of,
    to_struct,
)

SAFE = MAX_SAFE_INTEGER
PLENTY = 4 * 1024 * 1024


def nested(depth: int, kind: str) -> dict[str, Any]:
    """An object so many levels deep, of objects or of lists."""
    value: Any = {"leaf": 1} if kind == "objects" else [1]
    for _ in range(depth - 2):
        value = {"a": value} if kind == "objects" else [value]
    return {"a": value}


def sent(document: dict[str, Json]) -> Struct:
    """What a caller gets of a Struct that is sent at the end of a stream."""
    event = pb.InvokeStreamResponse(result=pb.InvokeResponse(result=to_struct(document, PLENTY)))
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
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
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
    """Integers beyond ±(2^53 - 1) are decimal strings, so that none is rounded unseen.

    NaN and the infinities, which a Struct may not hold, have their names.
    """
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
    with pytest.raises(TooDeep, match=f"nested 31 deep, more than {MAX_DEPTH}"):
        to_struct(nested(MAX_DEPTH + 1, kind), PLENTY)


def test_a_caller_cannot_read_what_is_much_deeper() -> None:
    """Why there is a limit: a Struct of 34 objects encodes, and does not decode."""
    struct = Struct()
    json_format.ParseDict(nested(34, "objects"), struct)

    with pytest.raises(DecodeError):
        Struct.FromString(struct.SerializeToString())


@pytest.mark.parametrize(
    ("document", "depth"),
    [(1, 0), ({}, 1), ([], 1), ({"a": []}, 2), ({"a": 1, "b": [{"c": 1}]}, 3), ("text", 0)],
)
def test_depth_counts_objects_and_lists(document: Json, depth: int) -> None:
    """The deepest branch counts, and a scalar is no level."""
    assert depth_of(document) == depth


@given(json_objects)
def test_no_object_that_fits_is_refused(document: dict[str, Any]) -> None:
    """The size is known to be too much only when it is: by the bytes that would be sent."""
    size = to_struct(document, PLENTY).ByteSize()

    assert to_struct(document, size).ByteSize() == size


@pytest.mark.parametrize(
    "item", [None, True, 1, 1.5, 2**60, "", "text", [], {}, [1], {"k": 1}], ids=repr
)
def test_a_struct_that_would_be_too_large_is_not_made(item: Json) -> None:
    """A hundred thousand of anything are more than a hundred kilobytes."""
    with pytest.raises(TooLarge):
        to_struct({"list": [item] * 100_000}, 100_000)
    with pytest.raises(TooLarge):
        to_struct({str(number): item for number in range(100_000)}, 100_000)
