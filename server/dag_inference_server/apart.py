"""Work that would hold up every other call, done in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import TypeVar

import structlog
from anyio import BrokenWorkerProcess, to_process

T = TypeVar("T")

log = structlog.get_logger(__name__)

LARGE = 1024 * 1024
"""Bytes of JSON of one call that are taken apart in this process. Python reads a list without
letting anybody else go on, some 25 ms a megabyte, and its threads are no help."""

_TRIES = 2
"""The process may have been killed for what was none of this work's doing."""

_LOST = (BrokenWorkerProcess, OSError)
"""How it shows that the process was killed, before it began or after, or cannot be started."""


class WorkerLost(Exception):
    """There is no process that does the work: most likely, the machine has no memory for it."""


class Apart:
    """A process that is started by the first work, and ended with the event loop.

    One at a time: what is large takes memory, and others are to have the other cores.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        # Before the work is made ready to be sent, which takes the memory once more.
        self._turn = asyncio.Lock()
        self._starting: asyncio.Task[None] | None = None
        self._is_there = False
        # Where it is started there may be files that are called like modules of Python's.
        os.environ.setdefault("PYTHONSAFEPATH", "1")

    async def do(self, work: Callable[[], T]) -> T:
        """Do work that can be pickled, as its result can; one who gives it up ends the process.

        Raises:
            WorkerLost: The process does not survive it, or cannot be started.
        """
        async with self._turn:
            for _ in range(_TRIES):
                try:
                    return await self._do(work)
                except _LOST as error:
                    log.warning("worker_lost", error=repr(error))
        raise WorkerLost

    async def _do(self, work: Callable[[], T]) -> T:
        if not self._is_there:
            # One that were given up while it starts would be left behind.
            if self._starting is None or self._starting.done():
                self._starting = asyncio.create_task(_start())
            await asyncio.shield(self._starting)
            self._is_there = True
        try:
            return await to_process.run_sync(work, cancellable=True)
        except (*_LOST, asyncio.CancelledError):
            self._is_there = False
            raise


async def _start() -> None:
    try:
        await to_process.run_sync(_be_deaf)
    except KeyboardInterrupt as interrupt:
        # The process's own: out of a task it would end this one.
        raise BrokenWorkerProcess from interrupt


# In the process itself.


def _be_deaf() -> None:
    # A terminal and a service manager tell all processes to end: it is the gateway that decides.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_IGN)
