"""What can wait a moment is done for many at once, and never forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from dag_inference_server.batch import MANY, Batch
from integration.waiting import eventually


class Taken:
    """What has been handed over, by when."""

    def __init__(self) -> None:
        """Nothing has."""
        self.parts: list[list[int]] = []
        self.batch = Batch[int](self._take)

    def _take(self, things: Sequence[int]) -> None:
        self.parts.append(list(things))


@pytest.fixture
def taken() -> Taken:
    """A batch, and what was in it."""
    return Taken()


async def test_a_moment(taken: Taken) -> None:
    """All that comes within one is handed over together; what comes later has its own."""
    for thing in (1, 2):
        taken.batch.add(thing)
    assert not taken.parts
    await eventually(lambda: taken.parts)
    taken.batch.add(3)
    await eventually(lambda: len(taken.parts) > 1)

    assert taken.parts == [[1, 2], [3]]


async def test_many(taken: Taken) -> None:
    """Do not wait: they would hold up too much at once."""
    for thing in range(2 * MANY):
        taken.batch.add(thing)

    assert taken.parts == [[*range(MANY)], [*range(MANY, 2 * MANY)]]


async def test_whoever_cannot_wait(taken: Taken) -> None:
    """Gets all of it now, once, and what comes next still has its moment."""
    taken.batch.add(1)
    taken.batch.flush()
    taken.batch.flush()
    taken.batch.add(2)

    assert taken.parts == [[1]]
    await eventually(lambda: taken.parts == [[1], [2]])


def test_without_an_event_loop(taken: Taken) -> None:
    """Nothing would hand it over later."""
    taken.batch.add(1)
    taken.batch.add(2)

    assert taken.parts == [[1], [2]]


def test_a_loop_that_has_ended(taken: Taken) -> None:
    """Leaves what it had to whoever comes next."""

    async def end() -> None:
        taken.batch.add(1)

    async def wait() -> None:
        taken.batch.add(2)
        await eventually(lambda: taken.parts)

    asyncio.run(end())
    assert not taken.parts
    asyncio.run(wait())
    assert taken.parts == [[1, 2]]


async def test_threads(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    """May add as they like: each thing is handed over exactly once, a thread's own in order."""
    monkeypatch.setattr("dag_inference_server.batch.MOMENT", 0.001)
    each, enough = 4, threading.Event()
    counts = [0] * each

    def add(thread: int) -> None:
        while not enough.is_set():
            taken.batch.add(each * counts[thread] + thread)
            counts[thread] += 1
            if counts[thread] % 7 == 0:
                taken.batch.flush()

    adding = asyncio.gather(*(asyncio.to_thread(add, thread) for thread in range(each)))
    while min(counts) < 500:
        taken.batch.add(-1)
        await asyncio.sleep(0)
    enough.set()
    await adding
    taken.batch.flush()

    things = [thing for part in taken.parts for thing in part if thing >= 0]
    for thread in range(each):
        own = [thing // each for thing in things if thing % each == thread]
        assert own == [*range(counts[thread])]


def test_whoever_takes_things(taken: Taken) -> None:
    """May have one to add, which comes after them."""
    taken_too = list[int]()

    def take(things: Sequence[int]) -> None:
        if things[-1] < 2:
            batch.add(things[-1] + 1)
        taken_too.extend(things)

    batch = Batch[int](take)
    batch.add(0)

    assert taken_too == [0, 1, 2]
