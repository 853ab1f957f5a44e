"""Where lines leave the process: a reader that does not read holds up the log, and no call."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

_ROOM = 1024 * 1024
"""Bytes that wait for their reader: of usual lines, some three thousand."""


@dataclass(frozen=True, slots=True)
class _Task:
    """What the thread has to do."""

    lost: int = 0
    """How many lines did not find room before these."""
    lines: Sequence[bytes] = ()
    reached: threading.Event | None = None
    """Who waits until it has come so far."""


class Outlet:
    """Writes lines to a file, in a thread of its own.

    What there is no room for, and what the file does not take, is lost; a line tells how many
    were, where they would stand.

    Whoever puts lines and the thread share no lock that either holds while it makes an object: the
    garbage collector may have something to log at any time, in any thread.
    """

    def __init__(
        self,
        file: int,
        of_lost: Callable[[int], bytes],
        has_room: Callable[[], object] = lambda: None,
    ) -> None:
        """Write to a file.

        Args:
            file: Its descriptor.
            of_lost: Makes the line that tells of so many.
            has_room: Called when there was no room for some, and is again: whoever puts anything
                then, or nothing, has it told.
        """
        self._file = file
        self._of_lost = of_lost
        self._has_room = has_room
        self._tasks = SimpleQueue[_Task]()
        self._thread: threading.Thread | None = None
        # Of whoever puts lines.
        self._put = 0
        self._refused = 0
        # Of the thread.
        self.written = 0
        """Bytes that were written, or lost on the way."""
        self._begun = b""
        """The rest of a line that the file has the beginning of, if it does not take it."""
        self._lost = 0

    @property
    def waits(self) -> int:
        """Bytes that are not written yet."""
        return self._put - self.written

    def put(self, lines: Sequence[bytes]) -> None:
        """Write them after all that came before, and wait for nothing. One caller at a time."""
        size = sum(map(len, lines))
        # Once some are lost, it is better to lose many in one place than some in many.
        room = _ROOM // 2 if self._refused else _ROOM
        if self.waits and self.waits + size > room:
            self._refused += len(lines)
            return
        task = _Task(lost=self._refused, lines=lines)
        self._refused = 0
        self._put += size
        if self._has_thread():
            self._tasks.put(task)
        else:
            self._do(task)

    def wait(self, seconds: float) -> bool:
        """Give what was put so long to be written, and tell whether all was, or told as lost."""
        # The thread itself may have had something to log.
        if self._thread is threading.current_thread():
            return False
        if self._thread is not None:
            reached = threading.Event()
            self._tasks.put(_Task(reached=reached))
            if not reached.wait(seconds):
                return False
        return not self._refused

    def _has_thread(self) -> bool:
        if self._thread is None:
            # What it waits for may never be, and is no reason for the process to stay.
            thread = threading.Thread(target=self._go_on, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The process has as many as it may, or is ending.
                return False
            self._thread = thread
        return True

    def _go_on(self) -> None:
        while True:
            self._do(self._tasks.get())
            if self._refused and self._tasks.empty():
                self._has_room()

    def _do(self, task: _Task) -> None:
        self._lost += task.lost
        try:
            self._take(task.lines)
        except Exception:
            # There is no better place to tell it.
            self._lost += len(task.lines)
        finally:
            self.written += sum(map(len, task.lines))
            if task.reached:
                task.reached.set()

    def _take(self, lines: Sequence[bytes]) -> None:
        self._finish_line()
        if self._lost and not self._begun:
            self._begun, self._lost = self._of_lost(self._lost), 0
            self._finish_line()
        for some in _pieces(lines):
            written = 0 if self._begun else self._write(b"".join(some))
            for line in some:
                if 0 < written < len(line):
                    self._begun = line[written:]
                elif not written:
                    self._lost += 1
                written = max(written - len(line), 0)

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
