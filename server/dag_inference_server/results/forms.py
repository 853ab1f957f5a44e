"""A result in the forms that callers want. What is no number in JSON is told by its name."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct

from dag_inference_server.results.shape import Shaped
from dag_inference_server.results.struct import TooLarge, to_struct
from dag_inference_server.results.text import to_text


def struct_of(result: Shaped, max_bytes: int) -> Struct:
    """As a Struct of `max_bytes` bytes at most. Raises what `to_struct` does."""
    return to_struct(result.document(str), max_bytes)


def struct_bytes_of(result: Shaped, max_bytes: int) -> bytes:
    """The bytes of `struct_of`."""
    return struct_of(result, max_bytes).SerializeToString()


def text_of(result: Shaped, max_bytes: int) -> str:
    """The text of its JSON. Raises what `to_text` does, and `TooLarge` beyond `max_bytes`."""
    text = to_text(result.read(str))
    if len(text) > max_bytes:
        raise TooLarge
    return text
