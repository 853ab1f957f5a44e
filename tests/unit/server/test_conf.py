"""A caller's conf, as Struct and as text: what it becomes, and what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from dag_inference_server.results.conf import (
    MAX_CONF_DEPTH,
    Fault,
    NoConf,
    canonical,
    faults,
    from_struct,
    from_text,
)
from dag_inference_server.results.struct import Json


@pytest.mark.parametrize(
    ("number", "becomes"),
    [
        (1.0, 1),
        (-0.0, 0),
        (2.0**53 - 1, 2**53 - 1),
        (-(2.0**53) + 1, -(2**53) + 1),
        (2.0**53, 2.0**53),
        (2.0**63, 2.0**63),
        (1.5, 1.5),
        (1e300, 1e300),
    ],
)
def test_an_integral_number_becomes_an_integer(number: float, becomes: float) -> None:
    """Params want integers, and a Struct has none; beyond ±(2^53 - 1) it may be a rounded one."""
    conf = from_struct(Struct(fields={"n": Value(number_value=number)}))

    assert repr(conf) == repr({"n": becomes})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("struct", "path"),
    [
        (lambda bad: Struct(fields={"a": bad}), ".a"),
        (lambda bad: Struct(fields={"unit.price": bad}), '["unit.price"]'),
        (lambda bad: Struct(fields={"": bad}), '[""]'),
        (lambda bad: Struct(fields={'"é': bad}), r'["\"é"]'),
        (
            lambda bad: Struct(
                fields={"a": Value(list_value=ListValue(values=[Value(bool_value=True), bad]))}
            ),
            ".a[1]",
        ),
        (
            lambda bad: Struct(fields={"a": Value(struct_value=Struct(fields={"b-2": bad}))}),
            ".a.b-2",
        ),
    ],
    ids=["top", "dot", "empty", "quote", "list", "object"],
)
def test_what_is_no_json_number_is_told_by_its_path(
    number: float, struct: Callable[[Value], Struct], path: str
) -> None:
    """NaN and the infinities are doubles, and no JSON."""
    found = faults(from_struct(struct(Value(number_value=number))))

    assert [(fault.path, "is no JSON number" in fault.why) for fault in found] == [(path, True)]


def test_a_value_that_is_not_set_is_refused_by_its_path() -> None:
    """A Value without a kind says nothing, not null."""
    with pytest.raises(NoConf) as caught:
        from_struct(Struct(fields={"a": Value(list_value=ListValue(values=[Value()]))}))

    assert caught.value.fault == Fault(".a[0]", "the value is unset")


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("{}", {}),
        (' {"a": 9223372036854775808} ', {"a": 2**63}),
        ('{"a": 1.0, "b": 1e2, "c": -0.0}', {"a": 1.0, "b": 100.0, "c": -0.0}),
        (r'{"a": "\ud83d\ude00"}', {"a": "😀"}),
    ],
)
def test_the_text_of_an_object_is_taken_exactly(text: str, document: dict[str, Json]) -> None:
    """Integers stay integers however long, floats floats."""
    assert repr(from_text(text)) == repr(document)
    assert not faults(from_text(text))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "b": 2, "a": 2}', 'has the key "a" twice'),
        ('{"x": [{"a": 1, "a": 1}]}', 'has the key "a" twice'),
        ("", "no JSON, from line 1"),
        ("{", "no JSON, from line 1"),
        ("{'a': 1}", "no JSON, from line 1"),
        ('{"a": 1} x', "no JSON, from line 1, column 10"),
        ('{"a": 01}', "no JSON, from line 1"),
        ("[]", "no JSON object"),
        ("null", "no JSON object"),
        ('"{}"', "no JSON object"),
        ("1", "no JSON object"),
        ('{"a": ' + "9" * 5000 + "}", "more than 4000"),
        ('{"a":' * 101 + "1" + "}" * 101, f"deeper than {MAX_CONF_DEPTH} levels"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", f"deeper than {MAX_CONF_DEPTH} levels"),
        ("[" * 100_000, f"deeper than {MAX_CONF_DEPTH} levels"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_conf_is_refused(text: str, why: str) -> None:
    """In words that say why."""
    with pytest.raises(NoConf) as caught:
        from_text(text)

    assert caught.value.fault.path == ""
    assert why in caught.value.fault.why


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        ('{"a": NaN}', ".a", "no JSON number"),
        ('{"a": [Infinity]}', ".a[0]", "no JSON number"),
        ('{"a": -Infinity}', ".a", "no JSON number"),
        ('{"a": {"b": 1e400}}', ".a.b", "no JSON number"),
        ('{"a": -1e400}', ".a", "no JSON number"),
        ('{"a": [18446744073709551615, 18446744073709551616]}', ".a[1]", "hands it to no task"),
        ('{"a": -9223372036854775809}', ".a", "hands it to no task"),
        ('{"a": 1e20}', ".a", "hands it to no task"),
        ('{"a": -3.4028235e38}', ".a", "hands it to no task"),
        (r'{"a": "\ud83d"}', ".a", "holds a lone surrogate"),
        (r'{"a": {"\udc00": 1}}', ".a", "has a key with a lone surrogate"),
        (r'{"a": "\u0000"}', ".a", "holds the character U+0000"),
        (r'{"\u0000": 1}', "", "has a key with the character U+0000"),
    ],
)
def test_what_reaches_no_task_is_told_by_its_path(text: str, path: str, why: str) -> None:
    """Before a run is made, and where it stands."""
    (fault,) = faults(from_text(text))

    assert fault.path == path
    assert why in fault.why


def test_several_faults_are_told_at_once_and_not_too_many() -> None:
    """The first ten, in the order of the conf."""
    found = faults({f"n{number}": math.nan for number in range(20)})

    assert [fault.path for fault in found] == [f".n{number}" for number in range(10)]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
json_objects = st.dictionaries(st.text(), json_values)


@given(json_objects)
def test_what_python_writes_is_taken(document: dict[str, Any]) -> None:
    """Any JSON object is, as long as its text is."""
    assert from_text(json.dumps(document)) == document


structs = st.deferred(lambda: st.builds(Struct, fields=st.dictionaries(st.text(), struct_values)))
struct_values: st.SearchStrategy[Value] = st.deferred(
    lambda: (
        st.just(Value())
        | st.builds(Value, null_value=st.just(0))
        | st.builds(Value, bool_value=st.booleans())
        | st.builds(Value, number_value=st.floats())
        | st.builds(Value, string_value=st.text())
        | st.builds(Value, struct_value=structs)
        | st.builds(Value, list_value=st.builds(ListValue, values=st.lists(struct_values)))
    )
)


@given(structs)
def test_any_struct_is_taken_or_refused_by_a_path(struct: Struct) -> None:
    """What is taken can be written for Airflow, and read again as it was."""
    conf, found = read(struct)
    if found:
        assert all(fault.why for fault in found)
    else:
        assert from_text(json.dumps(conf, allow_nan=False)) == conf


def read(struct: Struct) -> tuple[Json, list[Fault]]:
    """The conf, and what is wrong with it."""
    try:
        conf = from_struct(struct)
    except NoConf as error:
        return None, [error.fault]
    return conf, faults(conf)


@pytest.mark.parametrize("kind", ["objects", "lists"])
def test_whatever_conf_is_taken_can_be_compared(kind: str) -> None:
    """The deepest conf that is allowed still has its one text."""
    document: Any = {} if kind == "objects" else []
    for _ in range(MAX_CONF_DEPTH - 2):
        document = {"a": document} if kind == "objects" else [document]
    document = {"a": document}

    assert json.loads(canonical(from_text(json.dumps(document)))) == document


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
    ("key", "path"),
    [("größe", '["größe"]'), ("\ud800", '["\\ud800"]'), ("a.b", '["a.b"]'), ("a-b", ".a-b")],
)
def test_a_path_is_text(key: str, path: str) -> None:
    """Whatever the keys are that it leads through."""
    found = faults({key: [1, float("nan")]})

    assert found[-1] == Fault(
        f"{path}[1]", "is no JSON number: it is NaN, infinite, or beyond a double"
    )
    assert path.encode()


def test_a_long_key_over_a_long_list() -> None:
    """Costs as much as both together: with the path written down for each item, minutes."""
    document: Json = {"k" * 2_000_000: [0] * 1_500_000}

    assert faults(document) == []
    assert from_text(json.dumps(document)) == document


@pytest.mark.parametrize(
    ("number", "is_fault"),
    [
        (-(2**63), False),
        (-(2**63) - 1, True),
        # The shortest digits that mean it, which PostgreSQL keeps, are those of a lesser integer.
        (-(2.0**63), True),
        (-9.223372036854774e18, False),
        (2**64 - 1, False),
        (2**64, True),
        (2.0**64, True),
        (1.844674407370955e19, False),
    ],
)
def test_numbers_that_airflow_hands_to_no_task(number: float, is_fault: bool) -> None:
    """Beyond 64 bits, as its database keeps them, they are refused."""
    assert bool(faults({"x": number})) is is_fault
