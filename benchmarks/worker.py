"""A part of the load in a process of its own, so that its work delays nobody's clock.

The process says `ready`, works until its stdin ends, and says in JSON what it saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from subprocess import Popen
from typing import Any

from benchmarks.processes import module, running

_READY = "ready"


@dataclass(frozen=True, slots=True)
class Worker:
    """One such process."""

    process: Popen[str]

    async def finish(self) -> Any:
        """End its work, and take what it saw."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.close()
        return json.loads(await asyncio.to_thread(stdout.read))


@asynccontextmanager
async def working(name: str, **arguments: Any) -> AsyncIterator[Worker]:
    """Let a module of the bench work inside the block, once it is ready."""
    with running(module(name, json.dumps(arguments))) as process:
        stdout = process.stdout
        assert stdout is not None
        line = await asyncio.to_thread(stdout.readline)
        if line.strip() != _READY:
            raise RuntimeError(f"{name} did not start: {line!r}")
        yield Worker(process)


# In the worker itself.


def arguments() -> Any:
    """What `working` was called with."""
    return json.loads(sys.argv[1])


def say_ready() -> None:
    """From now on it counts."""
    print(_READY, flush=True)


def until_told() -> None:
    """Block until `finish` is called."""
    sys.stdin.read()


def answer(seen: Any) -> None:
    """What was seen."""
    print(json.dumps(seen), flush=True)
