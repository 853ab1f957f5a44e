"""Lines of JSON below `warning` are made and written together; none is lost but by a kill."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
import structlog

from dag_inference_server.json_lines import Lines
from dag_inference_server.logs import configure
from integration.waiting import eventually


class File(BytesIO):
    """A file that knows what was written at once, and may take nothing."""

    def __init__(self) -> None:
        """It takes all."""
        super().__init__()
        self.parts: list[list[dict[str, Any]]] = []
        self.error: type[OSError] | None = None

    def write(self, lines: Any) -> int:
        """Take lines."""
        if self.error is not None:
            raise self.error
        self.parts.append([json.loads(line) for line in bytes(lines).splitlines()])
        return len(lines)

    @property
    def events(self) -> list[list[str]]:
        """What was said, by what was written at once."""
        return [[line["event"] for line in part] for part in self.parts]


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> Iterator[File]:
    """Where lines go."""
    root, before = logging.getLogger(), structlog.get_config()
    level, handlers = root.level, [*root.handlers]
    file = File()
    monkeypatch.setattr("sys.stderr", type("Stderr", (), {"buffer": file}))
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
    (first, second) = file.parts[0]
    assert first["timestamp"] < second["timestamp"]


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


@pytest.mark.parametrize("error", [OSError, BlockingIOError])
def test_a_file_that_takes_nothing(file: File, error: type[OSError]) -> None:
    """A disk that is full takes lines, and keeps nothing else from going on."""
    log = structlog.get_logger()
    file.error = error
    log.info("lost")
    file.error = None
    log.info("told")

    assert file.events == [["told"]]


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


def test_lines_of_their_own() -> None:
    """What is handed over is written as it is made, once."""
    file = BytesIO()
    lines = Lines(file)
    lines.add(lambda: b"1\n", can_wait=False)
    lines.flush()

    assert file.getvalue() == b"1\n"
