"""How much of an answer is read: some have no bound, and are wanted only in part or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TypeAlias

import aiohttp

Body: TypeAlias = Callable[[aiohttp.ClientResponse], Awaitable[bytes]]
"""Reads the body of a response."""


class TooLong(Exception):
    """The body is longer than what may be read of it, which was not read."""

    def __init__(self, size: int) -> None:
        """Say how many bytes it has at least."""
        super().__init__(f"{size} bytes or more")
        self.size = size


async def whole(response: aiohttp.ClientResponse) -> bytes:
    """All of a body."""
    return await response.read()


def end_of(size: int) -> Body:
    """The last bytes of a body, of which no more than `size` are kept."""
    return lambda response: last_of(response.content.iter_any(), size)


def at_most(size: int) -> Body:
    """All of a body, or `TooLong` as soon as it is known to have more than `size` bytes."""

    async def read(response: aiohttp.ClientResponse) -> bytes:
        if (declared := response.content_length or 0) > size:
            raise TooLong(declared)
        return await all_of(response.content.iter_any(), size)

    return read


async def last_of(pieces: AsyncIterable[bytes], size: int) -> bytes:
    """The last `size` bytes of what comes in pieces."""
    kept = bytearray()
    async for piece in pieces:
        del kept[: max(len(kept) + len(piece) - size, 0)]
        kept += piece[-size:]
    return bytes(kept)


async def all_of(pieces: AsyncIterable[bytes], size: int) -> bytes:
    """What comes in pieces, joined.

    Raises:
        TooLong: They have more than `size` bytes together.
    """
    read = bytearray()
    async for piece in pieces:
        read += piece
        if len(read) > size:
            raise TooLong(len(read))
    return bytes(read)
