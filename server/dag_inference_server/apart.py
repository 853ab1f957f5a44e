"""Work that would hold up every other call, done in a process of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog
from anyio import BrokenWorkerProcess, CapacityLimiter, to_process

T = TypeVar("T")

log = structlog.get_logger(__name__)

LARGE = 1024 * 1024
"""Bytes of JSON of one call that are taken apart in this process. Python reads a list without
letting anybody else go on, some 25 ms a megabyte, and its threads are no help."""

_TRIES = 2
"""The process may have been killed for what was none of this work's doing."""


class WorkerLost(Exception):
    """The process was killed, again and again: most likely, the machine has no memory for it."""


class Apart:
    """A process that is started by the first work, and ended with the event loop.

    One at a time: what is large takes memory, and others are to have the other cores.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._turn = CapacityLimiter(1)

    async def do(self, work: Callable[[], T]) -> T:
        """Do work that can be pickled, as its result can; one who gives it up ends the process.

        Raises:
            WorkerLost: The process does not survive it.
        """
        for _ in range(_TRIES):
            try:
                return await to_process.run_sync(
                    partial(_deaf, work), cancellable=True, limiter=self._turn
                )
            # The latter of one that is gone before it has begun.
            except (BrokenWorkerProcess, ProcessLookupError):
                log.warning("worker_lost")
        raise WorkerLost


# In the process itself.


def _deaf(work: Callable[[], T]) -> T:
    # A terminal and a service manager tell all processes to end: it is the gateway that decides.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_IGN)
    return work()
