"""JSON to tensors and back: what is a tensor, and that nothing is lost on the way."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dag_inference_server.results.struct import Json
from dag_inference_server.tensors.datatypes import BF16, BYTES, DATATYPES, FP64, Kind, pack, unpack
from dag_inference_server.tensors.declared import Declared, input_of, outputs
from dag_inference_server.tensors.nesting import (
    MAX_RANK,
    flattened,
    nested,
    spare_lists,
    why_no_shape,
)
from dag_inference_server.tensors.reading import read
from dag_inference_server.tensors.writing import Tensor, tensor_of

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)
SHAPES = st.lists(st.integers(0, 3), max_size=4)


def again(tensor: Tensor) -> Json:
    """What a client makes of a tensor, by the rules of the documentation."""
    elements = unpack(tensor.datatype, math.prod(tensor.shape), tensor.raw)
    if tensor.datatype is BYTES:
        elements = [each.decode() for each in elements]
    value = nested(elements, tensor.shape)
    return json.loads(str(value)) if tensor.is_json else value


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are one in JSON, where 1.0 is 1, and true is not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    return bool(one == other)


@given(JSON)
def test_every_value_comes_back(value: Json) -> None:
    """From its tensor, whatever it is."""
    assert is_same(again(tensor_of(value)), value)


@given(JSON, st.sampled_from([*DATATYPES.values()]))
def test_a_declared_datatype_loses_no_shape(value: Json, declared: Any) -> None:
    """It rounds numbers where it is taken, and changes nothing else."""
    tensor = tensor_of(value, declared)

    if tensor.datatype is not declared or tensor.datatype.kind is not Kind.NUMBER:
        assert is_same(again(tensor), value)
    elif not tensor.is_json:
        own = flattened(value)
        assert own
        assert tensor.shape == own[1]


@given(st.data(), st.sampled_from([*DATATYPES.values()]), SHAPES)
def test_elements_come_back_from_their_bytes(data: Any, datatype: Any, shape: list[int]) -> None:
    """Of every datatype, and with them the nested lists."""
    elements_of: st.SearchStrategy[Any] = {
        Kind.BOOLEAN: st.booleans(),
        Kind.INTEGER: st.integers(datatype.lowest, max(datatype.highest, 0)),
        Kind.NUMBER: st.floats(-100, 100, width=16),
        Kind.BYTES: st.binary(max_size=5),
    }[datatype.kind]
    count = math.prod(shape)
    elements = data.draw(st.lists(elements_of, min_size=count, max_size=count))
    if datatype is BF16:
        elements = [struct.unpack("<f", b"\0\0" + pack(BF16, [each]))[0] for each in elements]

    raw = pack(datatype, elements)

    assert unpack(datatype, count, raw) == elements
    value = nested(elements, shape)
    flat = flattened(value)
    assert flat
    assert flat[0] == elements
    # What comes after a dimension of 0 is nowhere in the lists.
    until = shape.index(0) + 1 if 0 in shape else len(shape)
    assert [*flat[1]] == shape[:until]


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (1.0, 0x3F80),
        (1.00390625, 0x3F80),
        (1.01171875, 0x3F82),
        (-2.0, 0xC000),
        (float("inf"), 0x7F80),
        (3.38e38, 0x7F7E),
    ],
)
def test_bf16_is_rounded_to_the_nearest(number: float, word: int) -> None:
    """To the even one, where two are as near."""
    assert pack(BF16, [number]) == struct.pack("<H", word)


@pytest.mark.parametrize("number", [3.4e38, -3.4e38, 1e300])
def test_bf16_makes_nothing_infinite(number: float) -> None:
    """What is beyond it is sent in a datatype that holds it."""
    with pytest.raises(OverflowError):
        pack(BF16, [number])
    assert tensor_of([number], BF16) == tensor_of([number])


@pytest.mark.parametrize(
    ("name", "value"),
    [("FP16", 65520), ("FP16", 10**400), ("BF16", 10**400), ("FP32", 10**400), ("FP64", 10**400)],
    ids=lambda value: str(value)[:10],
)
def test_an_integer_that_is_too_large_for_numbers(name: str, value: int) -> None:
    """Is as any other number that is: it comes as what it is."""
    assert tensor_of(value, DATATYPES[name]) == tensor_of(value)


def test_no_number_stays_none() -> None:
    """In BF16, too, whose rounding could make infinity of it."""
    (nan,) = unpack(BF16, 1, pack(BF16, [struct.unpack("<f", b"\x01\0\x80\x7f")[0]]))

    assert math.isnan(nan)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([math.nan, None], b'["NaN",null]'),
        (
            {"a": [math.inf, "\u00e4"], "b": -math.inf},
            '{"a":["Infinity","\u00e4"],"b":"-Infinity"}'.encode(),
        ),
        ([math.nan, None, "\ud800"], rb'["NaN",null,"\ud800"]'),
    ],
    ids=str,
)
def test_json_has_no_nan(value: Json, text: bytes) -> None:
    """What is said to be JSON is, for every reader: what is no number there has its name."""
    tensor = tensor_of(value)

    assert tensor.is_json
    assert unpack(BYTES, 1, tensor.raw) == [text]


def test_nan_stays_what_it_is_in_a_tensor() -> None:
    """Among numbers alone it is one of them."""
    (nan, one) = unpack(FP64, 2, tensor_of([math.nan, 1.0]).raw)

    assert (math.isnan(nan), one) == (True, 1)


@pytest.mark.parametrize(
    ("shape", "is_good"),
    [
        ([], True),
        ([0], True),
        ([4_000_000], True),
        ([1] * MAX_RANK, True),
        ([1] * (MAX_RANK + 1), False),
        ([2, -1], False),
        ([0, 2**62, 2**62], True),
    ],
    ids=lambda shape: str(shape)[:30],
)
def test_shapes(shape: list[int], is_good: bool) -> None:
    """Are not too deep, and not negative."""
    assert (why_no_shape(shape) is None) == is_good


@pytest.mark.parametrize(
    ("shape", "lists"),
    [
        ([], 0),
        ([4_000_000], 0),
        ([100_000, 0], 100_000),
        ([2, 3, 0], 8),
        ([2**62, 2**62, 0], 2**62 + 2**124),
        ([64, 224, 224, 1], 64 + 64 * 224),
        ([0, 2**62, 2**62], 0),
        ([2, -1], 0),
        ([2**62] * (MAX_RANK + 1), 0),
    ],
    ids=lambda shape: str(shape)[:30],
)
def test_spare_lists(shape: list[int], lists: int) -> None:
    """A few bytes can ask for any number of lists, which is known before there are any."""
    assert spare_lists(shape) == lists


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": 5},
        {"type": ["array", 5], "items": [{}], "minItems": "3", "maxItems": "3"},
        {"type": "array", "minItems": 2**70, "maxItems": 2**70},
        {"type": "array", "minItems": True, "maxItems": True},
        {"type": "array", "minItems": -5, "maxItems": -5},
        {"anyOf": {"type": "array"}},
        {"anyOf": [5, {"type": "array"}]},
        {"enum": 5},
        {"$ref": "#/nowhere"},
    ],
    ids=str,
)
def test_schemas_that_are_none(schema: Any) -> None:
    """Authors write many things: where a schema does not tell, a tensor is what it is."""
    said = read(BYTES, [1], [b"a"])

    assert said.fitted("x", schema, None) in ("a", ["a"])
    assert str(input_of(schema, None).shape) in {"(1,)", "(-1,)"}


TEXT = {"type": "string", "contentEncoding": "base64"}
OBJECTS = {"type": "array", "items": {"type": "object"}}
NULL = {"type": "null"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (TEXT, "e30="),
        ({"anyOf": [TEXT, NULL]}, "e30="),
        ({"oneOf": [NULL, {"anyOf": [NULL, TEXT]}]}, "e30="),
        ({"anyOf": [{"type": "string"}, NULL], "contentEncoding": "base64"}, "e30="),
        ({"anyOf": [{"type": "array", "items": TEXT}, NULL]}, ["e30="]),
        ({"anyOf": [OBJECTS, NULL]}, [{}]),
        ({"type": "array", "items": {"anyOf": [NULL, {"type": "object"}]}}, [{}]),
        ({"anyOf": [{"type": "object"}, NULL]}, {}),
        ({"anyOf": [{"type": "string"}, NULL]}, "{}"),
    ],
    ids=str,
)
def test_what_may_be_null_is_read_as_what_may_not(schema: Any, value: Json) -> None:
    """A schema is looked into, however its author has said that there may be nothing."""
    assert read(BYTES, [1], [b"{}"]).fitted("x", schema, None) == value


@pytest.mark.parametrize(
    ("told", "shape"),
    [
        ("", ()),
        (":-1,3", (-1, 3)),
        (":0,2147483647", (0, 2**31 - 1)),
        (":2147483648", None),
        (":99999999999999999999", None),
        (":-5", None),
        (":3,", None),
    ],
)
def test_tags_that_declare_outputs(told: str, shape: tuple[int, ...] | None) -> None:
    """One with a dimension that no list has declares nothing."""
    expected = {} if shape is None else {"x": Declared(DATATYPES["FP32"], shape)}

    assert outputs([f"output:x:FP32{told}"]) == expected


@given(st.lists(st.binary(max_size=4), max_size=4))
def test_bytes_are_text_or_base64(elements: list[bytes]) -> None:
    """One and all, so that nobody has to guess for each."""
    said = read(BYTES, [len(elements)], elements)

    assert isinstance(said.value, list)
    if said.is_text:
        assert [text.encode() for text in said.value] == elements
        assert not any("\0" in text for text in said.value)
    else:
        assert all(text.isascii() and len(text) % 4 == 0 for text in said.value)
