"""A deadline as gRPC tells it is not always the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from dag_inference_server.edge.deadline import seconds_left
from fakes.http2 import taking_nothing

_PATH = "/test.Clocks/Tell"


class Clock:
    """A gRPC server that knows of each call what is surely left of its deadline."""

    def __init__(self) -> None:
        self._server = grpc.aio.server()
        tell: Any = grpc.unary_unary_rpc_method_handler(self._tell)
        self._server.add_registered_method_handlers("test.Clocks", {"Tell": tell})
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self.told: asyncio.Queue[tuple[float | None, float | None]] = asyncio.Queue()
        """Of each call what gRPC says, and what is sure of it."""

    async def _tell(self, request: bytes, context: Any) -> bytes:
        self.told.put_nowait((context.time_remaining(), seconds_left(context)))
        return b""

    async def __aenter__(self) -> Clock:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)


@pytest.fixture
async def clock() -> AsyncIterator[Clock]:
    async with Clock() as clock:
        yield clock


@pytest.mark.parametrize(
    ("before", "deadline"),
    [
        (10.0, 9.72),
        (100.0, 97.2),
        (130.0, 120.2),
        (1009.0, 980.0),
        (3600.0, 3500.0),
        (36_000.0, 35_000.0),
    ],
)
async def test_no_more_is_left_than_the_caller_waits(
    clock: Clock, before: float, deadline: float
) -> None:
    """A Python client's deadline is told as a longer one: rounded up, or as one before it was."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{clock.port}") as channel:
        call: Any = channel.unary_unary(_PATH)
        await call(b"", timeout=before)
        await clock.told.get()
        await call(b"", timeout=deadline)

    said, left = await clock.told.get()
    assert said is not None
    assert left is not None
    assert said > deadline
    assert 0.92 * deadline < left <= deadline


async def test_others_mean_what_they_say(clock: Clock) -> None:
    """Go's and Java's clients tell deadlines as they are, and are waited for until then."""
    headers = {"user-agent": "grpc-go/1.76.0", "grpc-timeout": "120200000u"}
    async with taking_nothing(clock.port, _PATH, headers):
        said, left = await clock.told.get()

    assert said is not None
    assert left is not None
    assert left > 119
    assert said - 0.1 < left <= said


async def test_no_deadline_stays_none(clock: Clock) -> None:
    """Whoever waits for ever is not given a deadline."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{clock.port}") as channel:
        call: Any = channel.unary_unary(_PATH)
        await call(b"")

    assert await clock.told.get() == (None, None)
