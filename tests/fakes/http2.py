"""A caller that speaks just enough HTTP/2 to do what no library lets it do."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What every connection begins with."""

_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE = 4


@asynccontextmanager
async def taking_nothing(
    port: int,
    path: str,
    more: Mapping[str, str] = MappingProxyType({}),
    *,
    request: bytes | None = b"",
    times: int = 1,
) -> AsyncIterator[None]:
    """RPCs with one request, and perhaps more headers, that take no byte of their answers.

    All of them on one connection, and begun: their headers have come. Without a request they are
    streams that send nothing either, and no more than under way.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **more,
    }
    writer.write(PREFACE)
    writer.write(_frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, 0)))
    block = b"".join(_literal(name, value) for name, value in headers.items())
    begun = asyncio.Semaphore(0)
    answering = asyncio.create_task(_answer(reader, writer, begun))
    try:
        for stream in range(1, 2 * times, 2):
            writer.write(_frame(_HEADERS, _END_HEADERS, stream, block))
            if request is not None:
                message = struct.pack(">BI", 0, len(request)) + request
                writer.write(_frame(_DATA, _END_STREAM, stream, message))
        for _ in range(times if request is not None else 0):
            await begun.acquire()
        yield
    finally:
        answering.cancel()
        writer.close()


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: asyncio.Semaphore
) -> None:
    """Be polite to the server, so that it keeps the connection."""
    while True:
        head = await reader.readexactly(9)
        body = await reader.readexactly(int.from_bytes(head[:3]))
        kind, flags = head[3], head[4]
        if kind == _HEADERS:
            begun.release()
        if kind in (_SETTINGS, _PING) and not flags & _ACK:
            writer.write(_frame(kind, _ACK, 0, body if kind == _PING else b""))


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def _literal(name: str, value: str) -> bytes:
    """A header that is in no table, without compression."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
