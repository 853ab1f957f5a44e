"""Callers that go on calling, while something happens to the gateways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fakes.airflow import Run
from integration.waiting import eventually

CALLERS = 20

SECONDS = 0.3
"""That the run of each call takes, more or less."""


def takes_a_while(run: Run) -> None:
    """A run returns its own conf after a while."""
    seconds = SECONDS * (1 + run.number % 10) / 5
    asyncio.get_running_loop().call_later(seconds, run.finish, "predict", run.conf)


class Load:
    """What became of the calls so far."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.begun = 0
        self.answered = 0
        self.lost: list[Exception] = []

    async def more(self, calls: int) -> None:
        """Wait until so many calls that begin from now on were answered or lost."""
        enough = self.begun + calls
        await eventually(lambda: self.answered + len(self.lost) >= enough, 60)


@asynccontextmanager
async def load(call: Callable[[int], Awaitable[None]]) -> AsyncIterator[Load]:
    """Let callers go on calling inside the block; at its end, all calls have ended."""
    told = Load()
    enough = asyncio.Event()

    async def go_on() -> None:
        while not enough.is_set():
            told.begun += 1
            try:
                await call(told.begun)
            except Exception as error:
                told.lost.append(error)
            else:
                told.answered += 1

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(go_on())
        try:
            yield told
        finally:
            enough.set()
