"""Lines below `warning` are made and written together, those from `warning` on at once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
import structlog

from dag_inference_server.logs import configure, flush
from integration.waiting import eventually


class File:
    """What stderr is meanwhile: it knows what was written at once."""

    def __init__(self, end: socket.socket) -> None:
        """Each datagram is."""
        self._end = end
        self._parts: list[list[dict[str, Any]]] = []

    @property
    def parts(self) -> list[list[dict[str, Any]]]:
        """The lines of each."""
        try:
            while True:
                written = self._end.recv(65536)
                self._parts.append([json.loads(line) for line in written.splitlines()])
        except BlockingIOError:
            return self._parts

    @property
    def events(self) -> list[list[str]]:
        """What was said, by what was written at once."""
        return [[line["event"] for line in part] for part in self.parts]


@pytest.fixture(autouse=True)
def _json(logging_as_before: None) -> None:
    configure("info", "json")


@contextmanager
def as_stderr() -> Iterator[File]:
    """A file where lines go meanwhile."""
    flush()
    before = os.dup(2)
    ours, end = socket.socketpair(type=socket.SOCK_DGRAM)
    with ours, end:
        end.setblocking(False)
        os.dup2(ours.fileno(), 2)
        try:
            yield File(end)
            flush()
        finally:
            os.dup2(before, 2)
            os.close(before)


async def test_what_can_wait() -> None:
    """Is written a moment later, all at once and in its order, with the time that it was said."""
    with as_stderr() as file:
        log = structlog.get_logger()
        log.info("first")
        log.info("second")

        assert not file.parts
        await eventually(lambda: file.parts)
        assert file.events == [["first", "second"]]
        first, second = (datetime.fromisoformat(line["timestamp"]) for line in file.parts[0])
        assert first <= second


@pytest.mark.parametrize("level", ["warning", "error", "critical"])
async def test_what_cannot_wait(level: str) -> None:
    """Is written at once, after all that was said before it."""
    with as_stderr() as file:
        log = structlog.get_logger()
        log.info("before")
        getattr(log, level)("now")
        log.info("after")

        await eventually(lambda: len(file.parts) == 2)
        assert file.events == [["before", "now"], ["after"]]


async def test_an_exception() -> None:
    """Is told as long as it is there, whatever the level."""
    with as_stderr() as file:
        log = structlog.get_logger()
        try:
            raise ValueError
        except ValueError:
            log.info("now", exc_info=True)

        flush()
        ((line,),) = file.parts
        assert line["exception"].endswith("builtins.ValueError")


async def test_the_call_that_a_line_is_about() -> None:
    """Is the one that was served when it was said."""
    with as_stderr() as file:

        async def serve(call: str) -> None:
            structlog.contextvars.bind_contextvars(call_id=call)
            structlog.get_logger().info("served")

        await asyncio.gather(serve("one"), serve("two"))

        await eventually(lambda: file.parts)
        assert [line["call_id"] for line in file.parts[0]] == ["one", "two"]


async def test_what_cannot_be_told() -> None:
    """Is told as far as it can, and keeps nothing from what was said beside it."""
    with as_stderr() as file:

        class Odd:
            def __repr__(self) -> str:
                raise RuntimeError

        log = structlog.get_logger()
        log.info("before")
        log.info("odd", what=Odd())
        log.warning("after")

        flush()
        assert file.events == [["before", "odd", "after"]]
        assert file.parts[0][1]["cannot_be_told"] == "RuntimeError"


async def test_more_than_a_pipe_takes_in_one_piece() -> None:
    """Is written in pieces of whole lines, so that others can write to it, too."""
    with as_stderr() as file:
        log = structlog.get_logger()
        for _ in range(9):
            log.info("x" * 1000)
        log.info("y" * 10_000)
        log.warning("z")

        flush()
        assert [len(part) for part in file.parts] == [3, 3, 3, 1, 1]


@pytest.mark.parametrize("way", ["pass", "sys.exit(3)", "raise ValueError"])
def test_the_end_of_the_process(way: str) -> None:
    """Whichever it is that the process brings about itself, all is written."""
    script = f"""
import asyncio, structlog, sys
from dag_inference_server.logs import configure
configure("info", "json")
async def end():
    structlog.get_logger().info("last")
    {way}
asyncio.run(end())
"""
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)

    assert '"event":"last"' in ended.stderr


@pytest.mark.parametrize("form", ["json", "text"])
def test_lines_that_are_missing(form: str) -> None:
    """Because their reader did not read, are told of where they would stand, and how many."""
    script = f"""
import structlog, sys
from dag_inference_server import logs
logs.configure("info", "{form}")
log = structlog.get_logger()
for number in range(6000):
    log.info("said", number=number, much="x" * 400)
print("said", flush=True)
sys.stdin.read()
log.info("after")
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "said\n"
        # Only now it is read.
        said = list[str]()
        while "log_lines_lost" not in (line := process.stderr.readline()):
            said.append(line)
        _, after = process.communicate(timeout=60)

    numbers = [int(found) for line in said for found in re.findall(r"number\W+(\d+)", line)]
    assert numbers == [*range(len(said))]
    assert len(said) > 1000
    assert re.findall(r"lines\W+(\d+)", line) == [str(6000 - len(said))]
    assert "after" in after
    assert len(after.splitlines()) == 1


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_reader_that_reads(form: str) -> None:
    """Gets all that is said before the end, also what is more than there is room for in a pipe."""
    script = f"""
import structlog
from dag_inference_server import logs
logs.configure("info", "{form}")
for number in range(1000):
    structlog.get_logger().info("said", much="x" * 400)
"""
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert len(ended.stderr.splitlines()) == 1000


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("before", [0, 1, 70])
def test_a_process_that_crashes(form: str, before: int) -> None:
    """Has told of what went wrong just before, and of all that was said before that."""
    script = f"""
import asyncio, os, structlog
from dag_inference_server import logs
logs.configure("info", "{form}")
log = structlog.get_logger()
async def crash():
    for _ in range({before}):
        log.info("before")
    log.error("why")
    os.kill(os.getpid(), 9)
asyncio.run(crash())
"""
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == -9
    assert ended.stderr.count("before") == before
    assert "why" in ended.stderr


def test_what_a_terminal_does_not_have() -> None:
    """Is escaped, as its encoding is not ours to choose: bytes of another can steer it."""
    script = """
import structlog
from dag_inference_server import logs
logs.configure("info")
structlog.get_logger().info("rpc", dag_id="\u011b\u00e9")
"""
    command = [sys.executable, "-c", script]
    latin = os.environ | {"PYTHONIOENCODING": "latin-1"}
    ended = subprocess.run(command, check=True, capture_output=True, env=latin, timeout=60)
    assert b"dag_id=\\u011b\xe9" in ended.stderr


def test_what_the_garbage_collector_has_to_log() -> None:
    """In any thread, in the middle of anything, keeps no other from its own lines."""
    script = """
import gc, logging, structlog, threading
from dag_inference_server import logs
logs.configure("info", "json")
log, library = structlog.get_logger(), logging.getLogger("library")
left = []

class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        library.warning("left")
        left.append(True)

def ours():
    for _ in range(1000):
        Cycle()
        log.info("ours", some=[{}])

def of_a_library():
    for _ in range(1000):
        library.info("of a library")

gc.set_threshold(20)
threads = [threading.Thread(target=each) for each in (ours, of_a_library, ours)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
# It does nothing while another thread is at it.
while len(left) < 2000:
    gc.collect()
"""
    command = [sys.executable, "-X", "faulthandler", "-c", script]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    said = [json.loads(line) for line in ended.stderr.splitlines()]
    told = [line.get("said", line["event"]) for line in said]
    counts = {what: told.count(what) for what in ("ours", "of a library", "left")}
    assert counts == {"ours": 2000, "of a library": 1000, "left": 2000}
    assert len(told) == 5000
