"""What SIGINT and SIGTERM do, phase by phase: interrupt, then stop in order, then nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _nothing() -> None:
    pass


class Signals:
    """Takes both signals over, for the rest of the process.

    Until something better is known they interrupt. Handlers of an event loop would be
    gone with the loop, and the next signal would kill us in the middle of ending others.
    """

    def __init__(self) -> None:
        """Take them over."""
        self._act: Callable[[], None] = _interrupt
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._act())

    @contextmanager
    def calling(self, act: Callable[[], None]) -> Iterator[None]:
        """Let a signal call `act` inside the block, and do nothing after it: we are ending."""
        self._act = act
        try:
            yield
        finally:
            self._act = _nothing

    def ignore(self) -> None:
        """Let signals do nothing: we are ending."""
        self._act = _nothing
