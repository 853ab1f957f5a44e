"""What is counted in a row is counted soon, in its order, and none of it is lost."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from dag_inference_server.metrics.later import InARow


async def test_it_is_counted_soon() -> None:
    """By itself, in the order in which it came, and no call waits for it."""
    later, counted = InARow(), list[int]()
    last = asyncio.Event()

    for number in range(3):
        later(counted.append, number)
    later(last.set)
    assert not counted

    async with asyncio.timeout(10):
        await last.wait()
    assert counted == [0, 1, 2]


async def test_it_is_counted_before_somebody_looks() -> None:
    """Once, and what comes after that again."""
    later, counted = InARow(), list[str]()

    later(counted.append, "first")
    later.catch_up()
    assert counted == ["first"]

    later(counted.append, "second")
    later.catch_up()
    later.catch_up()
    assert counted == ["first", "second"]


async def test_one_that_cannot_be_counted() -> None:
    """Is told to the log, and the others count."""
    later, counted = InARow(), list[str]()

    later(counted.append, "before")
    later(counted.remove, "none")
    later(counted.append, "after")
    with capture_logs() as lines:
        later.catch_up()

    assert counted == ["before", "after"]
    assert [line["event"] for line in lines] == ["metrics_failed"]
