"""Where lines leave the process: a reader that does not read holds up the log, and no call."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable

_ROOM = 1024 * 1024
"""Bytes that wait for their reader: of usual lines, some three thousand."""


class Outlet:
    """Writes whole lines to a file, in a thread of its own.

    What there is no room for, and what the file does not take, is lost; the log tells how many
    lines that were, where they would stand.
    """

    def __init__(self, file: int, of_lost: Callable[[int], bytes]) -> None:
        """Write to a file descriptor; `of_lost` makes the line that tells of so many."""
        self._file = file
        self._of_lost = of_lost
        self._pieces = deque[tuple[bytes, int]]()
        """Each with the number of lines that are lost with it."""
        self._waits = 0
        """Bytes that are not written yet."""
        self._lost = 0
        self._begun = b""
        """The rest of a line that the file has the beginning of, and did not take yet."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, piece: bytes) -> None:
        """Write it after all that came before, and wait for nothing."""
        lines = piece.count(b"\n")
        with self._changed:
            if self._has_room(len(piece)):
                self._tell_of_lost()
                self._add(piece, lines)
            else:
                self._lost += lines

    def wait(self, seconds: float) -> bool:
        """Give what was put so long to be written, and tell whether it was."""
        with self._changed:
            if self._has_room(0):
                self._tell_of_lost()
            return self._changed.wait_for(lambda: not self._waits, seconds)

    def _has_room(self, size: int) -> bool:
        # Once some are lost, it is better to lose many in one place than some in many.
        room = _ROOM // 2 if self._lost else _ROOM
        return not self._waits or self._waits + size <= room

    def _tell_of_lost(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._add(self._of_lost(lost), lost)

    def _add(self, piece: bytes, lines: int) -> None:
        if self._thread is None:
            # What it waits for may never be, and is no reason for the process to stay.
            self._thread = threading.Thread(target=self._go_on, name="log", daemon=True)
            self._thread.start()
        self._pieces.append((piece, lines))
        self._waits += len(piece)
        self._changed.notify_all()

    def _go_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces)
                piece, lines = self._pieces.popleft()
            lost = self._write(piece, lines)
            with self._changed:
                self._lost += lost
                self._waits -= len(piece)
                self._changed.notify_all()

    def _write(self, piece: bytes, lines: int) -> int:
        """Of how many lines the file has nothing."""
        whole, written = self._begun + piece, 0
        try:
            while written < len(whole):
                try:
                    written += os.write(self._file, whole[written:])
                except BlockingIOError:
                    # Somebody else who has the file has told it not to let anybody wait.
                    select.select([], [self._file], [])
        except OSError:
            # The line that it has the beginning of comes to its end as soon as it takes more.
            is_within = whole[written - 1 : written] != b"\n" if written else bool(self._begun)
            end = whole.index(b"\n", written) + 1 if is_within else written
            self._begun = whole[written:end]
            left = whole[end:]
            return left.count(b"\n") if len(left) < len(piece) else lines
        self._begun = b""
        return 0
