"""What a person sees while it boots: live on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Progress:
    """Tells of steps on stderr, and how long each took."""

    def __init__(self) -> None:
        """Tell on stderr."""
        self._console = Console(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        """Say something between two steps."""
        self._console.print(text)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Say that something is going on, and at the end how long it took."""
        started = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(f"{what} …"):
                yield
        else:
            self._console.print(f"{what} …")
            yield
        self._console.print(f"{what}: {time.monotonic() - started:.1f} s")
