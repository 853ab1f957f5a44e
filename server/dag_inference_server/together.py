"""Work that is done at the same time, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar, cast

from dag_inference_server.let_go import let_go

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of it at once; the first error ends the rest, and is raised as it is."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def both(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Do two things at once, as `together`."""
    of_first, of_second = await together((first, second))
    return cast(A, of_first), cast(B, of_second)


async def abandon(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait until it has ended; whatever becomes of it is nobody's business."""
    if task.done() and not task.cancelled() and task.exception():
        # Which is under way to whoever tells of it.
        return
    task.cancel()
    await asyncio.wait((task,))
    try:
        # Taken note of: asyncio complains of exceptions that nobody asks for.
        task.result()
    except (Exception, asyncio.CancelledError) as error:
        let_go(error)
