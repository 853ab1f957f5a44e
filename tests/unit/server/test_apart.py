"""Work in processes of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from dag_inference_server.apart import Apart
from dag_inference_server.results.struct import Json, TooDeep, TooLarge, to_struct
from integration.waiting import eventually

LARGE = 2**30


@pytest.fixture
async def apart() -> AsyncIterator[Apart]:
    """Processes of its own, not yet started."""
    async with Apart() as apart:
        yield apart


def lives(pid: int) -> bool:
    """Whether there is a process that has not ended."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "zombie" not in status.read_text()


Busy: TypeAlias = Callable[..., Awaitable[asyncio.Task[str]]]


@pytest.fixture
def busy(apart: Apart, tmp_path: Path) -> Iterator[Busy]:
    """Gives a process, by the size of its work, something to do that does not end."""
    with ExitStack() as ends:

        async def begin(size: int = 0) -> asyncio.Task[str]:
            fifo = tmp_path / str(size)
            os.mkfifo(fifo)
            working = asyncio.create_task(apart.run(size, fifo.read_text))
            # Possible once somebody reads, who then waits until this is closed.
            ends.callback(os.close, await eventually(lambda: _opened(fifo)))
            return working

        yield begin


def _opened(fifo: Path) -> int:
    """The number of the file, which is never 0; 0 while nobody reads it."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return 0


async def test_no_secrets(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment has for the gateway alone stays with the gateway."""
    ours = {"DAG_INFERENCE_AIRFLOW_PASSWORD": "a", "OTEL_EXPORTER_OTLP_HEADERS": "b", "LC_ALL": "C"}
    for name, text in ours.items():
        monkeypatch.setenv(name, text)

    theirs = {name: await apart.run(0, os.getenv, name) for name in ours}

    assert theirs == dict.fromkeys(ours) | {"LC_ALL": "C"}


async def test_it_is_another_process(apart: Apart) -> None:
    """Work is done in one other process, with its arguments, and its answer comes back."""
    first, second = await asyncio.gather(apart.run(0, os.getpid), apart.run(0, os.getpid))
    assert first == second != os.getpid()
    assert await apart.run(0, json.loads, b"[1]", parse_int=float) == [1.0]


async def test_this_one_goes_on(apart: Apart) -> None:
    """While work holds Python's lock there, everything here has its turn."""
    working = asyncio.create_task(apart.run(0, pow, 3, 3_000_000))
    turns = 0
    while not working.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 3
    assert (await working) % 10 == 3**4 % 10


async def test_large_work_does_not_hold_up_less(apart: Apart, busy: Busy) -> None:
    """What takes long is done in one process, and what is quick in another."""
    working = await busy(LARGE)
    assert await apart.run(0, str, 1) == "1"
    assert not working.done()


async def test_it_ends_with_the_block(apart: Apart, busy: Busy) -> None:
    """Nothing is left of it, whatever it does; nothing is begun any more."""
    async with apart:
        pid = await apart.run(0, os.getpid)
        working = await busy()
        waiting = asyncio.create_task(apart.run(0, os.getpid))
        await asyncio.sleep(0)
    assert not lives(pid)
    for task in (working, waiting):
        with pytest.raises(RuntimeError, match="ended"):
            await task


async def test_it_ends_with_its_parent() -> None:
    """A gateway that is killed takes the process with it."""
    code = """
import asyncio, os, signal
from dag_inference_server.apart import Apart
async def main():
    async with Apart() as apart:
        print(await apart.run(0, os.getpid), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    command = [sys.executable, "-c", code]
    run = partial(subprocess.run, command, capture_output=True, text=True, timeout=60)
    killed = await asyncio.to_thread(run)
    assert killed.returncode == -signal.SIGKILL
    assert killed.stderr == ""
    await eventually(lambda: not lives(int(killed.stdout)))


@pytest.mark.parametrize(
    ("document", "error"),
    [({"a": [[]] * 100_000}, TooLarge), (json.loads("[" * 40 + "]" * 40), TooDeep)],
)
async def test_what_is_raised(apart: Apart, document: Json, error: type[Exception]) -> None:
    """Work raises what it would raise here, and the process goes on."""
    pid = await apart.run(0, os.getpid)
    with pytest.raises(error) as raised:
        await apart.run(0, to_struct, {"value": document}, 1000)
    assert "to_struct" in raised.value.__notes__[0]
    assert await apart.run(0, os.getpid) == pid


async def test_what_cannot_be_sent(apart: Apart) -> None:
    """An error that only its own process can make is told in words."""
    pid = await apart.run(0, os.getpid)
    code = "class Odd(Exception):\n  pass\nraise Odd('so')"
    with pytest.raises(RuntimeError, match="Odd: so"):
        await apart.run(0, exec, code)
    assert await apart.run(0, os.getpid) == pid


async def test_nobody_waits_for_it_any_more(apart: Apart, busy: Busy) -> None:
    """Work that is cancelled ends soon, and nobody else has to wait for it."""
    pid = await apart.run(0, os.getpid)
    working = await busy()
    waiting = asyncio.create_task(apart.run(0, os.getpid))
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert lives(pid)
    assert await waiting != pid
    assert not lives(pid)


async def test_work_that_is_nearly_done(apart: Apart) -> None:
    """Cancelled, it costs nobody the process."""
    pid = await apart.run(0, os.getpid)
    quick = asyncio.create_task(apart.run(0, str, 1))
    await asyncio.sleep(0)
    quick.cancel()
    assert await apart.run(0, os.getpid) == pid


async def test_it_dies(apart: Apart) -> None:
    """Work that the process dies of is an error, and the next work gets another process."""
    pid = await apart.run(0, os.getpid)
    with pytest.raises(RuntimeError, match="ended with 3"):
        await apart.run(0, os._exit, 3)
    killed = await apart.run(0, os.getpid)
    os.kill(killed, signal.SIGKILL)
    assert await apart.run(0, os.getpid) not in {pid, killed}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_to_all_of_a_group(apart: Apart, number: signal.Signals) -> None:
    """Calls in flight are finished before the gateway goes: it is not for signals to end this."""
    working = asyncio.create_task(apart.run(0, os.getpid))
    children = await eventually(_children)
    for pid in children:
        os.kill(pid, number)
    pid = await working
    os.kill(pid, number)
    assert children == [pid]
    assert await apart.run(0, os.getpid) == pid


def _children() -> list[int]:
    """The processes of this one's that are for this."""
    return [
        int(pid)
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if b"dag_inference_server.apart" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
