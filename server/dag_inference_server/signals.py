"""What the signals to end do, phase by phase: interrupt, then stop in order, then nothing."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
"""A person, a supervisor, and a terminal that is closed."""

_ONE = 0.3
"""Seconds in which several are one. A terminal tells all of a group, and so do some supervisors;
those in it that have started us, as `make demo` has, tell us again."""


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _nothing() -> None:
    pass


class Signals:
    """Takes them over, for the rest of the process.

    Until something better is known they interrupt. Handlers of an event loop would be
    gone with the loop, and the next signal would kill us in the middle of ending others.
    """

    def __init__(self) -> None:
        """Take them over, but for a hangup that is ignored for us: `nohup` wants us to stay."""
        self._act: Callable[[], None] = _interrupt
        self._taken = -math.inf
        self._terminals = [fd for fd in range(3) if os.isatty(fd)]
        for number in ENDING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: self._take())

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

    def _take(self) -> None:
        self._let_go_of_terminals()
        now = time.monotonic()
        if now - self._taken >= _ONE:
            self._taken = now
            self._act()

    def _let_go_of_terminals(self) -> None:
        """Say the rest to nobody if the terminal is gone: to write to it would be an error."""
        for fd in self._terminals:
            if not os.isatty(fd):
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, fd)
                os.close(null)
