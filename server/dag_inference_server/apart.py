"""Work that would hold up all other calls, done in a process of its own.

Python runs one thread at a time, and what reads a large JSON text does not let go on the way:
25 ms a megabyte, in whatever thread that is.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import ParamSpec, Self, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

_NICE = 5
"""How much sooner than the process beside it the gateway gets a core that both want."""


class Apart:
    """One process, made when it is first wanted, which does one thing after the other.

    As a context manager it ends with the block, whatever it does.
    """

    def __init__(self) -> None:
        """Prepare; nothing is started yet."""
        self._turn = asyncio.Lock()
        self._worker: _Worker | None = None

    async def __aenter__(self) -> Self:
        """Start nothing: most gateways never have a large value."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the process."""
        await self._end()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it there, and give what it returns or raises.

        Function, arguments and answer are pickled, which holds up this process: bytes are quick.
        Who is cancelled ends the process with its work, and the next one gets another.

        Raises:
            RuntimeError: The process has died of it.
        """
        async with self._turn:
            if self._worker is None or not self._worker.is_alive:
                self._worker = _Worker.start()
            job = (work, args, kwargs)
            exchange = asyncio.create_task(asyncio.to_thread(self._worker.exchange, job))
            try:
                is_done, answer = await asyncio.shield(exchange)
            except asyncio.CancelledError:
                await self._end()
                await asyncio.wait((exchange,))
                # Taken note of: asyncio complains of exceptions that nobody asks for.
                exchange.exception()
                raise
            except (EOFError, OSError) as error:
                await self._end()
                raise RuntimeError("the process for large values has died") from error
        if not is_done:
            raise cast(Exception, answer)
        return cast(T, answer)

    async def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.end()


@dataclass(frozen=True, slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    ours: Connection

    @classmethod
    def start(cls) -> Self:
        """Start it, which takes it some tenths of a second; nobody waits for that here.

        By `subprocess`, which starts it without a copy of this process: a fork of one that runs
        gRPC's threads can crash.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            process = subprocess.Popen(
                # Nobody's working directory is a place for modules.
                [sys.executable, "-P", "-m", __name__, str(fd)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(fd,),
            )
        return cls(process, Connection(ours.detach()))

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def exchange(self, job: object) -> tuple[bool, object]:
        """Send a job, and wait for its answer: whether it was done, and what came of it."""
        self.ours.send(job)
        return cast(tuple[bool, object], self.ours.recv())

    async def end(self) -> None:
        self.process.kill()
        # What it had in memory is given back first. The connection closes itself when the last
        # thread has let go of it.
        await asyncio.to_thread(self.process.wait)


def _work(theirs: Connection) -> None:
    """Do what is sent, until nobody sends any more."""
    while True:
        try:
            work, args, kwargs = theirs.recv()
        except EOFError:
            return
        try:
            answer = True, work(*args, **kwargs)
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = False, error
        theirs.send(answer)
        del work, args, kwargs, answer


if __name__ == "__main__":
    # Signals to all of a group are the gateway's matter: calls in flight still need this.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(_NICE)
    # Nothing here is a ring, and among millions of values the search for rings takes long.
    gc.disable()
    # The gateway may go without a word.
    with Connection(int(sys.argv[1])) as connection, suppress(ConnectionError):
        _work(connection)
