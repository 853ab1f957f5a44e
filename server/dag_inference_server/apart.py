"""Work that would hold up all other calls, done in processes of its own.

Python runs one thread at a time, and what reads a large JSON text does not let go on the way:
25 ms a megabyte, in whatever thread that is.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeAlias, TypeVar, cast

from dag_inference_server.signals import ENDING

P = ParamSpec("P")
T = TypeVar("T")

_LONG = 1024 * 1024
"""Bytes of JSON on which work takes so long that work on less is not to wait for it."""

_SPARED = 0.2
"""Seconds that work which nobody wants any more has to end by itself: a new process takes as
long."""

_NICE = 5
"""How much it gives way to others that want the processor, of 19."""

_FIRST_TO_GO = 500
"""How much sooner than the gateway it is ended when memory runs out, of 1000."""

_ENVIRONMENT = re.compile(r"PATH|TZ|LANG|(LC|LD|MALLOC)_.*|PYTHON.*")
"""What an interpreter goes by. The rest has the gateway's passwords in it."""

_Job: TypeAlias = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]


class Apart:
    """Two processes, made when they are first wanted, each of which does one thing after the other.

    One is for what takes long. As a context manager they end with the block, whatever they do.
    """

    def __init__(self) -> None:
        """Prepare; nothing is started yet: most gateways never have a large value."""
        self._short, self._long = _Lane(), _Lane()

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End them."""
        await asyncio.gather(self._short.close(), self._long.close())

    async def run(self, size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work on so many bytes of JSON there, and give what it returns or raises.

        Function, arguments and answer are pickled, which holds up this process: bytes are quick.

        Raises:
            RuntimeError: The process has died of it.
        """
        lane = self._long if size > _LONG else self._short
        return cast(T, await lane.run((work, args, kwargs)))


class _Lane:
    """A process, and who waits for it."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._worker: _Worker | None = None
        self._exchange: asyncio.Task[object] | None = None
        self._is_closed = False

    async def run(self, job: _Job) -> object:
        await self._turn.acquire()
        # A task of its own: who is cancelled neither waits for its end nor leaves half a message.
        self._exchange = asyncio.create_task(self._do(job))
        self._exchange.add_done_callback(self._done)
        try:
            return await asyncio.shield(self._exchange)
        except asyncio.CancelledError:
            loop = asyncio.get_running_loop()
            loop.call_later(_SPARED, self._give_up, self._exchange)
            raise

    async def close(self) -> None:
        self._is_closed = True
        if self._exchange is not None and not self._exchange.done():
            self._give_up(self._exchange)
            await asyncio.wait((self._exchange,))
        await self._end()

    async def _do(self, job: _Job) -> object:
        try:
            is_done, answer = await self._exchanged(job)
        except (EOFError, OSError) as error:
            code = await self._end()
            raise RuntimeError(f"the process for large values has ended with {code}") from error
        except BaseException:
            # Half a message may be under way.
            await self._end()
            raise
        if not is_done:
            raise cast(Exception, answer)
        return answer

    async def _exchanged(self, job: _Job) -> tuple[bool, object]:
        try:
            return await asyncio.to_thread((await self._working()).exchange, job)
        except OSError:
            # It died before it had read all: not of this job.
            await self._end()
            return await asyncio.to_thread((await self._working()).exchange, job)

    async def _working(self) -> _Worker:
        if self._is_closed:
            raise RuntimeError("the gateway has ended")
        if self._worker is not None and self._worker.process.poll() is not None:
            await self._end()
        if self._worker is None:
            self._worker = _Worker.start()
        return self._worker

    def _done(self, exchange: asyncio.Task[object]) -> None:
        # Taken note of: asyncio complains of exceptions that nobody asks for.
        if not exchange.cancelled():
            exchange.exception()
        self._turn.release()

    def _give_up(self, exchange: asyncio.Task[object]) -> None:
        """End the process if it still works on what nobody wants."""
        if self._worker is not None and not exchange.done():
            self._worker.process.kill()

    async def _end(self) -> int | None:
        """End the process, and give its exit code."""
        worker, self._worker = self._worker, None
        if worker is None:
            return None
        worker.process.kill()
        # What it had in memory is given back first. The connection closes itself when the last
        # thread has let go of it.
        return await asyncio.to_thread(worker.process.wait)


@dataclass(frozen=True, slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    ours: Connection

    @classmethod
    def start(cls) -> Self:
        """Start one, which takes it some tenths of a second; nobody waits for that here.

        By `subprocess`, which starts it without a copy of this process: a fork of one that runs
        gRPC's threads can crash.
        """
        ours, theirs = socket.socketpair()
        # Signals to all of a group are the gateway's matter: calls in flight still need this. A
        # process is born with what its parent blocks.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            with theirs:
                fd = theirs.fileno()
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", __name__, str(fd)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(fd,),
                    env=_environment(),
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return cls(process, Connection(ours.detach()))

    def exchange(self, job: _Job) -> tuple[bool, object]:
        """Send a job, and wait for its answer: whether it was done, and what came of it.

        Raises:
            OSError: The process has not read all of it.
            EOFError: It has, and ended.
        """
        self.ours.send(job)
        return cast(tuple[bool, object], self.ours.recv())


def _environment() -> dict[str, str]:
    theirs = {name: text for name, text in os.environ.items() if _ENVIRONMENT.fullmatch(name)}
    # Whatever this process can import, and from there.
    return theirs | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _work(theirs: Connection) -> None:
    """Do what is sent, until nobody sends any more."""
    while True:
        work, args, kwargs = theirs.recv()
        try:
            answer = True, work(*args, **kwargs)
        except Exception as error:
            answer = False, _portable(error)
        del work, args, kwargs
        theirs.send(answer)
        del answer


def _portable(error: Exception) -> Exception:
    """An error that can be sent, and tells where it was raised."""
    where = traceback.format_exc()
    try:
        error.add_note(where)
        pickle.dumps(error)
        # It is made anew in the same way where it arrives.
        copy(error)
    except Exception:
        return RuntimeError(where)
    return error


if __name__ == "__main__":
    with suppress(OSError):
        os.nice(_NICE)
        Path("/proc/self/oom_score_adj").write_text(str(_FIRST_TO_GO))
    # Nothing here is a ring, and among millions of values the search for rings takes long.
    gc.disable()
    # The gateway may go without a word, at any moment.
    with Connection(int(sys.argv[1])) as connection, suppress(EOFError, OSError):
        _work(connection)
