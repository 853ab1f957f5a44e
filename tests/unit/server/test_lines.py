"""Lines of a log that can wait a moment are written together; none is lost but by a kill."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading

import pytest

from dag_inference_server.lines import Lines
from integration.waiting import eventually


class Written(io.BytesIO):
    """A file that knows what was written at once, and was sent on its way."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.parts: list[bytes] = []

    def flush(self) -> None:
        """Send it."""
        self.parts.append(self.getvalue()[sum(map(len, self.parts)) :])


@pytest.fixture
def file() -> Written:
    """Where lines go."""
    return Written()


async def test_what_can_wait(file: Written) -> None:
    """Is written a moment later, all at once and in its order."""
    lines = Lines(file)
    lines.info(b"1\n")
    lines.debug(b"2\n")

    assert not file.parts
    await eventually(lambda: file.parts)
    assert file.parts == [b"1\n2\n"]


async def test_after_a_moment(file: Written) -> None:
    """The next lines have a moment of their own."""
    lines = Lines(file)
    lines.info(b"1\n")
    await eventually(lambda: file.parts)
    lines.info(b"2\n")
    await eventually(lambda: len(file.parts) > 1)

    assert file.parts == [b"1\n", b"2\n"]


async def test_what_cannot_wait(file: Written) -> None:
    """Is written at once, after what came before it; what comes after it is written, too."""
    lines = Lines(file)
    for way in (lines.warning, lines.error, lines.critical):
        lines.info(b"before\n")
        way(b"it\n")

    assert file.parts == [b"before\nit\n"] * 3
    lines.info(b"after\n")
    await eventually(lambda: len(file.parts) == 4)
    assert file.parts[3] == b"after\n"


def test_without_an_event_loop(file: Written) -> None:
    """There is nobody who would write it later."""
    lines = Lines(file)
    lines.info(b"1\n")

    assert file.parts == [b"1\n"]


async def test_another_thread(file: Written) -> None:
    """Writes its own, and what waits."""
    lines = Lines(file)
    lines.info(b"1\n")
    other = threading.Thread(target=lines.info, args=(b"2\n",))
    other.start()
    other.join()

    assert file.parts == [b"1\n2\n"]


def test_a_loop_that_has_ended(file: Written) -> None:
    """Leaves its last lines to the next."""
    lines = Lines(file)

    async def end() -> None:
        lines.info(b"1\n")

    async def wait() -> None:
        lines.info(b"2\n")
        await eventually(lambda: file.parts)

    asyncio.run(end())
    assert not file.parts
    asyncio.run(wait())
    assert file.parts == [b"1\n2\n"]


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
    ended = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )

    assert '"event":"last"' in ended.stderr


@pytest.mark.parametrize("error", [OSError, BlockingIOError])
def test_a_file_that_takes_nothing(
    file: Written, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    """A disk that is full takes lines, and keeps nothing else from going on."""

    def write(_: bytes) -> int:
        raise error

    lines = Lines(file)
    with monkeypatch.context() as patched:
        patched.setattr(file, "write", write)
        lines.warning(b"lost\n")
    lines.warning(b"1\n")

    assert file.parts == [b"1\n"]
