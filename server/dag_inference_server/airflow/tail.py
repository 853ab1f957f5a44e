"""Answers of any length, of which only the end is wanted."""

from __future__ import annotations

from collections.abc import AsyncIterable


async def end_of(pieces: AsyncIterable[bytes], size: int) -> bytes:
    """The last bytes of a body that comes in pieces, of which no more than `size` are kept."""
    kept = bytearray()
    async for piece in pieces:
        del kept[: max(len(kept) + len(piece) - size, 0)]
        kept += piece[-size:]
    return bytes(kept)
