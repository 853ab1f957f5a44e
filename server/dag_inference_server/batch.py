"""What can wait a moment, done for many calls at once.

What is done for one call at a time finds nothing of its own in the processor's caches, which the
rest of the call has filled meanwhile, and takes several times as long.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

MOMENT = 0.1
"""Seconds that something waits at most in an event loop that is held up by nothing."""

MANY = 64
"""So many do not wait: together they must not hold up calls."""


class Batch(Generic[T]):
    """Takes things in, from any thread, and hands them over many at once, in their order.

    While no event loop runs, nothing would do it later, and they do not wait.
    """

    def __init__(self, take: Callable[[Sequence[T]], object]) -> None:
        """Hand things over to `take`, in one thread at a time."""
        self._take = take
        self._things = deque[T]()
        self._loop: asyncio.AbstractEventLoop | None = None
        """Which is to end the moment."""
        # Whoever takes things may have one to add, which comes after them.
        self._lock = threading.RLock()
        self._is_taking = False

    def add(self, thing: T) -> None:
        """Take in one more."""
        self._things.append(thing)
        if len(self._things) >= MANY or not self._is_seen_to():
            self.flush()

    def flush(self) -> bool:
        """Hand over what waits, and tell whether it was: not if this thread is about it already."""
        with self._lock:
            if self._is_taking:
                return False
            self._is_taking = True
            try:
                while things := self._taken_out():
                    self._take(things)
            finally:
                self._is_taking = False
        return True

    def _taken_out(self) -> Sequence[T]:
        things = list[T]()
        # Others may add some meanwhile.
        with suppress(IndexError):
            while True:
                things.append(self._things.popleft())
        return things

    def _is_seen_to(self) -> bool:
        """Have an event loop end the moment: one that will anyway, or this thread's, if any."""
        loop = self._loop
        # One may have ended before the moment had.
        if loop is not None and loop.is_running():
            return True
        try:
            # Asked seldom: Python makes sure by a system call that there was no fork.
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        self._loop = loop
        loop.call_later(MOMENT, self._end)
        return True

    def _end(self) -> None:
        self._loop = None
        self.flush()
