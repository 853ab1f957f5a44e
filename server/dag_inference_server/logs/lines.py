"""Lines on their way to stderr: what can wait is made, and written, many lines at once."""

from __future__ import annotations

import atexit
import select
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from dag_inference_server.batch import Batch
from dag_inference_server.logs.outlet import Outlet

_CAN_WAIT = frozenset({"debug", "info"})

_STDERR = 2

_END = 0.5
"""Seconds that the end waits for what is on its way, whose reader may read nothing."""


def _of_lost(lines: int) -> bytes:
    now = datetime.now(UTC)
    return _bare({"event": "log_lines_lost", "level": "warning", "timestamp": now, "lines": lines})


def _bare(event: dict[str, Any]) -> bytes:
    """The line of an event that is told whole: nothing but its form is done with it."""
    form = structlog.get_config()["processors"][-1]
    return bytes(form(None, event["level"], event))


class _Lines:
    """What was said, and is to be written in this order."""

    def __init__(self) -> None:
        """None is."""
        self._batch = Batch(self._write)
        self._outlet = Outlet(_STDERR, _of_lost)
        self._patience = _END

    def add(self, make: Callable[[], bytes], *, can_wait: bool) -> None:
        """Write what `make` makes: in a moment, or now, after all that came before it."""
        self._batch.add(make)
        if not can_wait:
            self._batch.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._batch.flush()
        # Who was waited for once, in vain, is not waited for again.
        self._patience = _END if self._outlet.wait(self._patience) else 0

    def _write(self, making: Sequence[Callable[[], bytes]]) -> None:
        for piece in _pieces(make() for make in making):
            self._outlet.put(piece)


_LINES = _Lines()
"""Of this process."""

flush = _LINES.flush

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


def _pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines, as many at once as a pipe takes in one piece, which others may write to, too."""
    some = b""
    for line in lines:
        if some and len(some) + len(line) > select.PIPE_BUF:
            yield some
            some = b""
        some += line
    if some:
        yield some
