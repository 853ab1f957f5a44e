"""Lines of a log on their way to a file: those that can wait a moment go together.

To hand one line to the operating system takes longer than to make it.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import BinaryIO

MOMENT = 0.1
"""Seconds that a line waits at most for others, in a process that is not killed."""


class Lines:
    """A logger of structlog's that takes lines, each with its end.

    What is a warning, or worse, is written at once, after what came before; so is all, and in
    the thread that says it, where no event loop runs. A disk that is full, or a reader that is
    gone, takes lines and no calls.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Write to this file."""
        self._file = file
        self._lines: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        """Which will write them; `None` if none is asked to."""
        self._lock = threading.Lock()

    def info(self, line: bytes) -> None:
        """Write it in a moment."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.warning(line)
            return
        with self._lock:
            self._lines.append(line)
            # Another loop may have ended before its time came.
            if self._loop is not loop:
                self._loop = loop
                loop.call_later(MOMENT, self.flush)

    debug = info

    def warning(self, line: bytes) -> None:
        """Write it now."""
        with self._lock:
            self._lines.append(line)
            self._write()

    error = critical = warning

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._loop = None
            self._write()

    def _write(self) -> None:
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        with suppress(OSError):
            self._file.write(b"".join(lines))
            self._file.flush()
