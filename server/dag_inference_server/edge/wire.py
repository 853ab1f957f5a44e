"""Answers of which some is bytes already, made where it holds up nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)
Outer = TypeVar("Outer", bound=Message)

_LENGTH_DELIMITED = 2
"""The wire type of messages (protobuf's encoding)."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[M]):
    """A message, and fields of it that are bytes."""

    message: M
    more: bytes = b""

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return self.message.ByteSize() + len(self.more)

    def whole(self) -> M:
        """What a handler answers with: the message, or for `serialized` all of its bytes."""
        return cast(M, self.message.SerializeToString() + self.more) if self.more else self.message

    def within(self, outer: Outer, name: str) -> Outer:
        """As the field `name` of another message."""
        if not self.more:
            getattr(outer, name).CopyFrom(self.message)
            return outer
        content = cast(bytes, self.whole())
        return Answer(outer, field(outer, name, content)).whole()


def field(of: Message, name: str, content: bytes) -> bytes:
    """A field that is a message, of whose bytes it is made. Bytes of fields add up to a message."""
    number = of.DESCRIPTOR.fields_by_name[name].number
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def serialized(response: Message | bytes) -> bytes:
    """The bytes of what a handler answers with."""
    return response if isinstance(response, bytes) else response.SerializeToString()


def _varint(number: int) -> bytes:
    """Seven bits a byte, the least first, all but the last marked (protobuf's encoding)."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
