"""A tensor as a caller sends it, and the value that it is in a conf."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dag_inference_server.results.conf import NoConf, canonical, step, value_from_text
from dag_inference_server.results.struct import Json
from dag_inference_server.tensors.datatypes import BYTES, Datatype
from dag_inference_server.tensors.nesting import nested
from dag_inference_server.tensors.schema import may_be, part_for, types_of


@dataclass(frozen=True, slots=True)
class Input:
    """What one tensor says, before it is known what the DAG takes."""

    value: Json
    is_text: bool = False
    """Whether its elements were bytes, and are text."""
    is_lone: bool = False
    """Whether its shape is `[1]`, which may stand for a scalar."""

    def fitted(self, name: str, schema: Any, default: Json) -> Json:
        """The value for a param of the DAG: what its schema cannot mean is not what it says.

        A lone element is a scalar where the param is no list. A text is JSON where the schema
        takes an object and no text, and base64 where the schema says `contentEncoding: base64`.

        Args:
            name: The param's name.
            schema: Its JSON Schema.
            default: Its default: what tells its type if the schema does not.

        Raises:
            NoConf: A text that has to be JSON is none.
        """
        value = self.value
        if self.is_lone and isinstance(value, list) and not may_be("array", schema, default):
            value = value[0]
        return _told(value, schema, default, step(name)) if self.is_text else value

    def can_mean(self, value: Json) -> bool:
        """Whether `fitted` makes this value of it, for whatever the DAG took at some time."""
        readings = [self.value]
        if self.is_lone and isinstance(self.value, list):
            readings.append(self.value[0])
        same = _means if self.is_text else _is_same
        return any(same(reading, value) for reading in readings)


def read(datatype: Datatype, shape: Sequence[int], elements: list[Any]) -> Input:
    """What a tensor says. Bytes that are not all text are base64 one and all."""
    is_text = datatype == BYTES
    if datatype == BYTES:
        is_text = all(map(_is_text, elements))
        elements = [_decoded(each) if is_text else _encoded(each) for each in elements]
    return Input(nested(elements, shape), is_text, [*shape] == [1])


def _told(value: Json, schema: Any, default: Json, path: str) -> Json:
    if isinstance(value, list):
        items = part_for("array", schema).get("items")
        return [_told(item, items, None, path + step(i)) for i, item in enumerate(value)]
    if not isinstance(value, str) or not isinstance(schema, Mapping):
        return value
    if part_for("string", schema).get("contentEncoding") == "base64":
        return _encoded(value.encode())
    types = types_of(schema, default)
    if types is not None and "object" in types and "string" not in types:
        return value_from_text(value, path)
    return value


def _means(said: Json, value: Json) -> bool:
    """Whether a text, or a list of texts, was told as this value."""
    if isinstance(said, list):
        return isinstance(value, list) and len(said) == len(value) and all(map(_means, said, value))
    if not isinstance(said, str) or _is_same(said, value):
        return _is_same(said, value)
    if value == _encoded(said.encode()):
        return True
    with suppress(NoConf):
        return _is_same(value_from_text(said, ""), value)
    return False


def _is_same(one: Json, other: Json) -> bool:
    return canonical(one) == canonical(other)


def _is_text(element: bytes) -> bool:
    """Whether it can be stored as text, which U+0000 cannot."""
    if b"\0" in element:
        return False
    try:
        element.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(element: bytes) -> str:
    return element.decode()


def _encoded(element: bytes) -> str:
    return b64encode(element).decode()
