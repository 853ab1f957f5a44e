"""Lines of JSON below `warning` are made and written together; none is lost but by a kill."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from io import BufferedWriter, BytesIO, RawIOBase
from types import SimpleNamespace
from typing import IO, Any

import pytest
import structlog

from dag_inference_server.logs import configure
from integration.waiting import eventually


class File(BytesIO):
    """A file that knows what was written at once."""

    def __init__(self) -> None:
        """Nothing was."""
        super().__init__()
        self.parts: list[list[dict[str, Any]]] = []

    def write(self, lines: Any) -> int:
        """Take lines."""
        self.parts.append([json.loads(line) for line in bytes(lines).splitlines()])
        return len(lines)

    @property
    def events(self) -> list[list[str]]:
        """What was said, by what was written at once."""
        return [[line["event"] for line in part] for part in self.parts]


def write_to(buffer: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the log take this for stderr."""
    stderr = SimpleNamespace(buffer=buffer)
    monkeypatch.setattr("dag_inference_server.json_lines.sys", SimpleNamespace(stderr=stderr))


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> Iterator[File]:
    """Where lines go."""
    root, before = logging.getLogger(), structlog.get_config()
    level, handlers = root.level, [*root.handlers]
    file = File()
    write_to(file, monkeypatch)
    configure("info", "json")
    yield file
    root.setLevel(level)
    root.handlers[:] = handlers
    structlog.configure(**before)


async def test_what_can_wait(file: File) -> None:
    """Is written a moment later, all at once and in its order, with the time that it was said."""
    log = structlog.get_logger()
    log.info("first")
    log.info("second")

    assert not file.parts
    await eventually(lambda: file.parts)
    assert file.events == [["first", "second"]]
    first, second = (datetime.fromisoformat(line["timestamp"]) for line in file.parts[0])
    assert first <= second


@pytest.mark.parametrize("level", ["warning", "error", "critical"])
async def test_what_cannot_wait(file: File, level: str) -> None:
    """Is written at once, after all that was said before it."""
    log = structlog.get_logger()
    log.info("before")
    getattr(log, level)("now")
    log.info("after")

    assert file.events == [["before", "now"]]
    await eventually(lambda: file.events == [["before", "now"], ["after"]])


async def test_an_exception(file: File) -> None:
    """Is told as long as it is there, whatever the level."""
    log = structlog.get_logger()
    try:
        raise ValueError
    except ValueError:
        log.info("now", exc_info=True)

    ((line,),) = file.parts
    assert line["exception"].endswith("builtins.ValueError")


async def test_the_call_that_a_line_is_about(file: File) -> None:
    """Is the one that was served when it was said."""

    async def serve(call: str) -> None:
        structlog.contextvars.bind_contextvars(call_id=call)
        structlog.get_logger().info("served")

    await asyncio.gather(serve("one"), serve("two"))

    await eventually(lambda: file.parts)
    assert [line["call_id"] for line in file.parts[0]] == ["one", "two"]


async def test_what_cannot_be_told(file: File) -> None:
    """Is told as far as it can, and keeps nothing from what was said beside it."""

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    log = structlog.get_logger()
    log.info("before")
    log.info("odd", what=Odd())
    log.warning("after")

    assert file.events == [["before", "odd", "after"]]
    assert file.parts[0][1]["cannot_be_told"] == "RuntimeError"


async def test_more_than_a_pipe_takes_in_one_piece(file: File) -> None:
    """Is written in pieces of whole lines, so that others can write to it, too."""
    log = structlog.get_logger()
    for _ in range(9):
        log.info("x" * 1000)
    log.info("y" * 10_000)
    log.warning("z")

    assert [len(part) for part in file.parts] == [3, 3, 3, 1, 1]


class Full(RawIOBase):
    """A disk that is full for a while."""

    def __init__(self) -> None:
        """It takes all."""
        self.taken = b""
        self.is_full = False

    def writable(self) -> bool:
        """In principle."""
        return True

    def write(self, lines: Any) -> int:
        """Take lines, or not."""
        if self.is_full:
            raise OSError(errno.ENOSPC, "")
        self.taken += bytes(lines)
        return len(lines)


@pytest.mark.usefixtures("file")
async def test_a_disk_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes lines, but no part of one, and keeps nothing else from going on."""
    disk = Full()
    write_to(BufferedWriter(disk), monkeypatch)
    log = structlog.get_logger()
    log.warning("before")
    disk.is_full = True
    for number in range(100):
        log.info("perhaps", number=number, much="x" * 500)
    disk.is_full = False
    log.warning("after")

    events = [json.loads(line)["event"] for line in disk.taken.splitlines()]
    assert events[0] == "before"
    assert events[-1] == "after"
    assert len(events) < 102


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
