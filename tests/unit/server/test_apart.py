"""Work in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dag_inference_server.apart import Apart
from dag_inference_server.results.struct import Json, TooDeep, TooLarge, to_struct


@pytest.fixture
async def apart() -> AsyncIterator[Apart]:
    """A process of its own, not yet started."""
    async with Apart() as apart:
        yield apart


def lives(pid: int) -> bool:
    """Whether there is a process."""
    return Path(f"/proc/{pid}").exists()


async def test_it_is_another_process(apart: Apart) -> None:
    """Work is done in one other process, with its arguments, and its answer comes back."""
    first, second = await asyncio.gather(apart.run(os.getpid), apart.run(os.getpid))
    assert first == second != os.getpid()
    assert await apart.run(json.loads, b"[1]", parse_int=float) == [1.0]


async def test_it_ends_with_the_block() -> None:
    """Nothing is left of it."""
    async with Apart() as apart:
        pid = await apart.run(os.getpid)
        assert lives(pid)
    assert not lives(pid)


async def test_it_ends_with_its_parent(apart: Apart) -> None:
    """A gateway that is killed takes the process with it, without a signal."""
    pid = await apart.run(os.getpid)
    assert apart._worker is not None
    apart._worker.ours.close()
    assert await asyncio.to_thread(apart._worker.process.wait, 30) == 0
    assert await apart.run(os.getpid) != pid


@pytest.mark.parametrize(
    ("document", "error"),
    [({"a": [[]] * 100_000}, TooLarge), (json.loads("[" * 40 + "]" * 40), TooDeep)],
)
async def test_what_is_raised(apart: Apart, document: Json, error: type[Exception]) -> None:
    """Work raises what it would raise here, and the process goes on."""
    pid = await apart.run(os.getpid)
    with pytest.raises(error) as raised:
        await apart.run(to_struct, {"value": document}, 1000)
    assert "to_struct" in raised.value.__notes__[0]
    assert await apart.run(os.getpid) == pid


async def test_nobody_waits_for_it_any_more(apart: Apart) -> None:
    """Work that is cancelled ends at once, and nobody else has to wait for it."""
    pid = await apart.run(os.getpid)
    sleeping = asyncio.create_task(apart.run(time.sleep, 3600))
    waiting = asyncio.create_task(apart.run(os.getpid))
    await asyncio.sleep(0)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert await waiting != pid
    assert not lives(pid)


async def test_it_dies(apart: Apart) -> None:
    """Work that the process dies of is an error, and the next work gets another process."""
    pid = await apart.run(os.getpid)
    with pytest.raises(RuntimeError, match="died"):
        await apart.run(os._exit, 3)
    os.kill(await apart.run(os.getpid), signal.SIGKILL)
    assert apart._worker is not None
    await asyncio.to_thread(apart._worker.process.wait, 30)
    assert await apart.run(os.getpid) != pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_to_all_of_a_group(apart: Apart, number: signal.Signals) -> None:
    """Calls in flight are finished before the gateway goes: it is not for signals to end this."""
    pid = await apart.run(os.getpid)
    os.kill(pid, number)
    assert await apart.run(os.getpid) == pid
