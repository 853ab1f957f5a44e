"""What can wait a moment, done for many calls at once.

What is done for one call at a time finds nothing of it in the processor's caches, which the rest of
the call has filled meanwhile: that takes three to four times as long.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

MOMENT = 0.1
"""Seconds that something waits at most, while there is an event loop to end that."""

_MANY = 64
"""So many do not wait: together they must not hold up calls."""


class Batch(Generic[T]):
    """Takes things in, from any thread, and hands them over many at once, in their order.

    While no event loop runs, nothing would do it later, and they do not wait.
    """

    def __init__(self, take: Callable[[Sequence[T]], object]) -> None:
        """Hand things over to `take`."""
        self._take = take
        self._things = deque[T]()
        self._loop: asyncio.AbstractEventLoop | None = None
        """Which is to end the moment."""

    def add(self, thing: T) -> None:
        """Take in one more."""
        self._things.append(thing)
        if len(self._things) >= _MANY or not self._is_awaited():
            self.flush()

    def flush(self) -> None:
        """Hand over now what waits."""
        things = list[T]()
        # Others may add some meanwhile, or take them.
        with suppress(IndexError):
            while True:
                things.append(self._things.popleft())
        if things:
            self._take(things)

    def _is_awaited(self) -> bool:
        """Whether an event loop ends the moment: one that has been told, or now this thread's."""
        if self._loop is not None and self._loop.is_running():
            return True
        try:
            # Asked seldom: Python makes sure by a system call that there was no fork.
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        self._loop.call_later(MOMENT, self._end)
        return True

    def _end(self) -> None:
        self._loop = None
        self.flush()
