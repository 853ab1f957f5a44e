"""Lines on their way to stderr: what can wait is made, and written, many lines at once."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from dag_inference_server.batch import Batch
from dag_inference_server.logs.forms import as_json
from dag_inference_server.logs.outlet import Outlet

_CAN_WAIT = frozenset({"debug", "info"})

_STDERR = 2

_SOON = 0.25
"""Seconds in which a file that is well takes what cannot wait: a process that crashes has told
why."""

_REST = 10
"""How many times as long as it was waited for one line nothing is waited for: a tenth of the time
at most goes into it."""

_PAUSE, _PAUSES = 0.5, 2
"""Seconds in which a reader that reads takes something, and how often it is waited for at the
end, which has to be within the grace."""


def _of_lost(lines: int) -> bytes:
    now = datetime.now(UTC)
    return _bare({"event": "log_lines_lost", "level": "warning", "timestamp": now, "lines": lines})


def _bare(event: dict[str, Any]) -> bytes:
    """The line of an event that is told whole: nothing but its form is done with it."""
    *_, form = structlog.get_config()["processors"]
    line = form(None, event["level"], {**event})
    # Nothing may have been configured yet.
    return line if isinstance(line, bytes) else as_json(None, event["level"], event)


class _Lines:
    """What is said, made into lines and written in its order."""

    def __init__(self) -> None:
        """Nothing was."""
        self._batch = Batch(self._make)
        self._outlet = Outlet(_STDERR, _of_lost)
        self._is_behind = False
        """Whether its reader was waited for in vain, and has not caught up since."""
        self._wait_from = 0.0
        """When it is waited for again."""

    def add(self, make: Callable[[], bytes], *, can_wait: bool) -> None:
        """Make a line in a moment; or now, after all before it, and see it written."""
        self._batch.add(make)
        # If it is this thread that makes lines, and has one to add, that comes after them.
        if not can_wait and self._batch.flush():
            self._see_written()

    def flush(self) -> None:
        """See all written that was said, by a reader that goes on reading."""
        self._batch.flush()
        for _ in range(_PAUSES):
            before = self._outlet.written
            if self._outlet.wait(_PAUSE) or self._outlet.written == before:
                return

    def _see_written(self) -> None:
        now = time.monotonic()
        if now < self._wait_from or (self._is_behind and self._outlet.waits):
            return
        self._is_behind = not self._outlet.wait(_SOON)
        then = time.monotonic()
        self._wait_from = then + (then - now) * _REST

    def _make(self, making: Sequence[Callable[[], bytes]]) -> None:
        self._outlet.put([line for make in making if (line := make())])


_LINES = _Lines()
"""Of this process."""

flush = _LINES.flush


def write(text: str) -> None:
    """Write what is no line of the log, such as why a process does not start, the same way."""
    line = f"{text}\n".encode(sys.stderr.encoding, "backslashreplace")
    _LINES.add(lambda: line, can_wait=False)


atexit.register(flush)


class Said(structlog.BoundLoggerBase):
    """Takes in what is said, when, and about which call; its line can be made later."""

    def _proxy_to_logger(self, method_name: str, event: str | None = None, **told: Any) -> None:
        told["timestamp"] = datetime.now(UTC)
        make = partial(copy_context().run, self._line, method_name, event, told)
        # The exception that is being handled will not be.
        _LINES.add(make, can_wait=method_name in _CAN_WAIT and not told.get("exc_info"))

    def _line(self, method_name: str, event: str | None, told: dict[str, Any]) -> bytes:
        """The line, or none. What keeps it from being made keeps nothing from those beside it."""
        try:
            (line,), _ = self._process_event(method_name, event, told)
        except structlog.DropEvent:
            return b""
        except Exception as error:
            left = {"event": event, "level": method_name, "timestamp": told["timestamp"]}
            return _bare(left | {"cannot_be_told": type(error).__qualname__})
        return bytes(line)
