"""Where lines leave the process: a reader that does not read holds up the log, and no call."""

from __future__ import annotations

import os
import select
import threading
from _thread import start_new_thread
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

_ROOM = 1024 * 1024
"""Bytes that wait for their reader: of usual lines, some three thousand."""


@dataclass(frozen=True, slots=True)
class _Task:
    """What the thread has to do."""

    refused: int
    """How many lines in all had not found room before these."""
    lines: Sequence[bytes] = ()
    reached: SimpleQueue[None] | None = None
    """Who waits until it has come so far."""


class Outlet:
    """Writes lines to a file, in a thread of its own.

    What there is no room for, and what the file does not take, is lost; a line tells how many
    were, where they would stand.

    Whoever puts lines and the thread share no lock of Python's, but queues: the garbage collector
    may have something to log at any time, in any thread, also while such a lock is held.
    """

    def __init__(self, file: int, of_lost: Callable[[int], bytes]) -> None:
        """Write to a file descriptor; `of_lost` makes the line that tells of so many."""
        self._file = file
        self._of_lost = of_lost
        self._tasks = SimpleQueue[_Task]()
        self._thread: int | None = None
        # Changed by whoever puts lines.
        self._put = 0
        self._refused = 0
        # Changed by the thread.
        self.written = 0
        """Bytes that were written, or lost on the way."""
        self._known = 0
        """How many of those that were refused are among the lost, or told."""
        self._lost = 0
        self._begun = b""
        """The rest of a line that the file has the beginning of, if it does not take it."""

    @property
    def waits(self) -> int:
        """Bytes that are not written yet."""
        return self._put - self.written

    def put(self, lines: Sequence[bytes]) -> None:
        """Write them after all that came before, and wait for nothing. One caller at a time."""
        size = sum(map(len, lines))
        # Once some are lost, it is better to lose many in one place than some in many.
        room = _ROOM if self._refused == self._known else _ROOM // 2
        if not self.waits or self.waits + size <= room:
            self._put += size
            self._hand_over(_Task(self._refused, lines))
            return
        self._refused += len(lines)
        # What it is busy with may be the last that it has to do.
        if self._tasks.empty():
            self._hand_over(_Task(self._refused))

    def wait(self, seconds: float) -> bool:
        """Give what was put so long to be written, or lost, and tell whether it was."""
        if self._thread is None:
            return True
        # The thread itself may have had something to log.
        if self._thread == threading.get_ident():
            return False
        reached = SimpleQueue[None]()
        self._hand_over(_Task(self._refused, reached=reached))
        try:
            reached.get(timeout=seconds)
        except Empty:
            return False
        return True

    def _hand_over(self, task: _Task) -> None:
        if self._thread is None:
            try:
                # It waits for no sign of its start, and the process does not wait for its end.
                self._thread = start_new_thread(self._go_on, ())
            except RuntimeError:
                # The process has as many as it may, or is ending.
                self._do(task)
                return
        self._tasks.put(task)

    def _go_on(self) -> None:
        while True:
            self._do(self._tasks.get())

    def _do(self, task: _Task) -> None:
        self._know(task.refused)
        for some in _pieces(task.lines):
            try:
                self._take(some)
            except Exception:
                # There is no better place to tell it.
                self._lost += len(some)
            self.written += sum(map(len, some))
        # As they are before whether there is more to do, these come before that.
        refused = self._refused
        if self._tasks.empty():
            self._know(refused)
            self._tell_of_lost()
        if task.reached:
            task.reached.put(None)

    def _know(self, refused: int) -> None:
        new = max(refused - self._known, 0)
        self._lost, self._known = self._lost + new, self._known + new

    def _take(self, lines: Sequence[bytes]) -> None:
        self._tell_of_lost()
        written = 0 if self._begun else self._write(b"".join(lines))
        for line in lines:
            if 0 < written < len(line):
                self._begun = line[written:]
            elif not written:
                self._lost += 1
            written = max(written - len(line), 0)

    def _tell_of_lost(self) -> None:
        self._finish_line()
        if self._lost and not self._begun:
            self._begun, self._lost = self._of_lost(self._lost), 0
            self._finish_line()

    def _finish_line(self) -> None:
        self._begun = self._begun[self._write(self._begun) :]

    def _write(self, text: bytes) -> int:
        """How much of it the file has taken."""
        written = 0
        try:
            while written < len(text):
                try:
                    written += os.write(self._file, text[written:])
                except BlockingIOError:
                    # Somebody else who has the file has told it not to let anybody wait.
                    select.select([], [self._file], [])
        except OSError:
            pass
        return written


def _pieces(lines: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """As many as a pipe takes in one piece, which others may write to, too."""
    some, size = list[bytes](), 0
    for line in lines:
        if some and size + len(line) > select.PIPE_BUF:
            yield some
            some, size = [], 0
        some.append(line)
        size += len(line)
    if some:
        yield some
