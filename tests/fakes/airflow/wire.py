"""HTTP/1.1 on asyncio, as much as a REST API needs, and able to misbehave."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """What came in."""

    method: str
    target: str
    """Path and query, as they came."""
    path: str
    """Decoded, as an ASGI server does it: `%2F` is a slash like any other."""
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Send only so many of the bytes that are promised, then close the connection."""
    stalls: bool = False
    """Leave the connection open then, and never send the rest."""


class HangUp(Exception):
    """Close the connection without an answer."""


class Reset(HangUp):
    """The same, without a word of TCP's either: the other end is told that it broke."""


Handler: TypeAlias = Callable[[Request], Awaitable[Reply]]


class HttpServer:
    """Serves on a port of 127.0.0.1 that stays the same when it is stopped and started."""

    def __init__(self, handle: Handler) -> None:
        """Reserve a port; connections are refused until `start`."""
        self._handle = handle
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamReader] = {}

    async def start(self) -> None:
        """Accept connections."""
        if self._socket.fileno() < 0:
            self._socket = _bound(self.port)
        self._server = await asyncio.start_server(self._serve, sock=self._socket, backlog=1024)

    async def stop(self) -> None:
        """Refuse connections and end those that are open, also in the midst of an answer."""
        if self._server:
            self._server.close()
            self._server = None
        self._socket.close()
        while self._connections:
            for connection in self._connections:
                connection.cancel()
            await asyncio.wait(self._connections)

    @property
    def connections(self) -> int:
        """How many connections the other side holds."""
        return sum(not reader.at_eof() for reader in self._connections.values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections[task] = reader
        try:
            while request := await _read(reader):
                reply = await self._handle(request)
                writer.write(_encoded(reply))
                await writer.drain()
                if reply.stalls:
                    await asyncio.Event().wait()
                if reply.cut_after is not None:
                    break
        except Reset:
            no_goodbye = struct.pack("ii", 1, 0)
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_goodbye)
        except (HangUp, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            del self._connections[task]
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


async def _read(reader: asyncio.StreamReader) -> Request | None:
    start = (await reader.readline()).decode("latin-1").split()
    if not start:
        return None
    headers: dict[str, str] = {}
    while line := (await reader.readline()).decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = start
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    return Request(method, target, unquote(url.path), query, headers, body)


def _encoded(reply: Reply) -> bytes:
    reason = HTTPStatus(reply.status).phrase
    headers = {"content-length": str(len(reply.body)), **reply.headers}
    head = f"HTTP/1.1 {reply.status} {reason}\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in headers.items()
    )
    return head.encode("latin-1") + b"\r\n" + reply.body[: reply.cut_after]
