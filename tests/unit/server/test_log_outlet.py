"""A file that takes no lines, or whose reader reads none, costs lines, and holds up nobody."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from dag_inference_server.logs.outlet import Outlet

LONG = 30.0
"""Seconds that only a test which fails waits to the end."""


def outlet_to(file: int) -> Outlet:
    """An outlet that tells of lost lines in few words."""
    return Outlet(file, lambda lines: b"lost %d\n" % lines)


def line(number: int) -> bytes:
    """A line of a thousand bytes."""
    return b"%999d\n" % number


def lines_to(read: int, last: bytes) -> list[bytes]:
    """Read as far as that line."""
    text = b""
    while not text.endswith(last):
        text += os.read(read, 65536)
    return text.splitlines(keepends=True)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Where to read from, and where to write to."""
    read, write = os.pipe()
    yield read, write
    os.close(write)
    os.close(read)


def test_a_reader_that_does_not_read(pipe: tuple[int, int]) -> None:
    """Loses lines beyond a bound, and is told how many where they would stand."""
    read, write = pipe
    outlet = outlet_to(write)
    for number in range(3000):
        outlet.put([line(number)])

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lines_to, read, b"after\n")
        outlet.wait(LONG)
        outlet.put([b"after\n"])
        *kept, lost, _ = reading.result()

    assert kept == [line(number) for number in range(len(kept))]
    assert 1000 < len(kept) < 2000
    assert lost == b"lost %d\n" % (3000 - len(kept))


def test_who_waits_for_a_reader_that_does_not_read(pipe: tuple[int, int]) -> None:
    """Waits no longer than they said."""
    read, write = pipe
    outlet = outlet_to(write)
    long = b"x" * 1_000_000 + b"\n"
    outlet.put([long])
    assert not outlet.wait(0.01)
    assert lines_to(read, long) == [long]
    assert outlet.wait(LONG)


def test_a_line_that_is_longer_than_there_is_room(pipe: tuple[int, int]) -> None:
    """Is written all the same, if nothing else waits."""
    read, write = pipe
    outlet = outlet_to(write)
    long = b"x" * 2_000_000 + b"\n"
    outlet.put([long])
    assert lines_to(read, long) == [long]


def test_a_file_that_lets_nobody_wait(pipe: tuple[int, int]) -> None:
    """Gets its lines whole, and all of them."""
    read, write = pipe
    os.set_blocking(write, False)
    outlet = outlet_to(write)
    outlet.put([line(number) for number in range(500)])
    assert lines_to(read, line(499)) == [line(number) for number in range(500)]


@contextmanager
def _disk_of(size: int) -> Iterator[None]:
    """No file grows beyond it."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


@pytest.mark.parametrize("pieces", [1, 6], ids=["at once", "one by one"])
def test_a_disk_that_is_full_for_a_while(tmp_path: Path, pieces: int) -> None:
    """Gets the rest of the line that it has begun as soon as it takes it, and is told of others."""
    with (tmp_path / "log").open("ab", buffering=0) as file:
        outlet = outlet_to(file.fileno())
        with _disk_of(2500):
            said = [line(number) for number in range(6)]
            for at in range(0, 6, 6 // pieces):
                outlet.put(said[at : at + 6 // pieces])
            outlet.wait(LONG)
            # Nor does it take this.
            outlet.put([line(6)])
            outlet.wait(LONG)
        outlet.put([b"after\n"])
        outlet.wait(LONG)

    kept = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert kept == [line(0), line(1), line(2), b"lost 4\n", b"after\n"]


def test_a_reader_that_goes_and_another_that_comes(tmp_path: Path) -> None:
    """The one hears how much the other has missed."""
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    first = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write = os.open(fifo, os.O_WRONLY)
    outlet = outlet_to(write)
    os.close(first)
    outlet.put([b"missed\n"] * 3)
    outlet.wait(LONG)
    second = os.open(fifo, os.O_RDONLY)
    outlet.put([b"heard\n"])
    assert lines_to(second, b"heard\n") == [b"lost 3\n", b"heard\n"]
    os.close(second)
    os.close(write)


def test_what_was_lost_last(tmp_path: Path) -> None:
    """Is told when nothing more is said, too; and a line that was begun comes to its end."""
    with (tmp_path / "log").open("ab", buffering=0) as file:
        outlet = outlet_to(file.fileno())
        with _disk_of(2):
            outlet.put([b"begun\n", b"lost\n"])
            assert outlet.wait(LONG)
        outlet.put([])
        assert outlet.wait(LONG)
    assert (tmp_path / "log").read_bytes() == b"begun\nlost 1\n"


def test_a_line_of_several_lines(tmp_path: Path) -> None:
    """Such as an exception for people, is one: it is written to its end, and lost as one."""
    with (tmp_path / "log").open("ab", buffering=0) as file:
        outlet = outlet_to(file.fileno())
        with _disk_of(6):
            outlet.put([b"one\n", b"two\n  why\n", b"three\n  why\n"])
            outlet.wait(LONG)
        outlet.put([b"four\n"])
        outlet.wait(LONG)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n  why\nlost 1\nfour\n"


def test_a_process_that_may_have_no_more_threads(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes its lines itself, and in a thread as soon as it gets one."""
    read, write = pipe
    outlet = outlet_to(write)

    def no_more(*_: object) -> NoReturn:
        raise RuntimeError

    with monkeypatch.context() as full:
        full.setattr("dag_inference_server.logs.outlet.start_new_thread", no_more)
        outlet.put([b"one\n"])
        assert outlet.wait(0)
        assert os.read(read, 9) == b"one\n"
    outlet.put([b"two\n"])
    assert lines_to(read, b"two\n") == [b"two\n"]


def test_what_has_something_to_log_while_it_writes(pipe: tuple[int, int]) -> None:
    """As the garbage collector may have at any time, is not waited for by itself."""
    read, write = pipe
    waited = list[bool]()

    def of_lost(lines: int) -> bytes:
        outlet.put([b"meanwhile\n"])
        waited.append(outlet.wait(LONG))
        return b"lost %d\n" % lines

    outlet = Outlet(write, of_lost)
    outlet.put([b"x" * 1_500_000 + b"\n"])
    outlet.put([b"refused\n"])
    # Without anything more being put.
    _, *told = lines_to(read, b"meanwhile\n")
    assert told == [b"lost 1\n", b"meanwhile\n"]
    assert waited == [False]


def test_a_disk_that_takes_a_later_piece(tmp_path: Path) -> None:
    """Is told before it what was lost of what was put together."""
    with (tmp_path / "log").open("ab", buffering=0) as file:

        def of_lost(lines: int) -> bytes:
            # There is room again.
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            return b"lost %d\n" % lines

        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        outlet = Outlet(file.fileno(), of_lost)
        with _disk_of(4000):
            outlet.put([line(0) * 4, line(1) * 4, line(2) * 4])
            outlet.wait(LONG)
    assert (tmp_path / "log").read_bytes() == line(0) * 4 + b"lost 1\n" + line(2) * 4
