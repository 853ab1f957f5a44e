"""A log of JSON, an object a line: what can wait is made, and written, many lines at once."""

from __future__ import annotations

import atexit
import json
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict

from dag_inference_server.batch import Batch

_CAN_WAIT = frozenset({"debug", "info"})

_AS_IT_LOOKS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_APPEND_NEWLINE
"""What does not show some of its fields keeps them to itself in the log, too."""


class Lines:
    """Lines on their way to stderr, whose disk may be full, or reader gone: that takes no calls."""

    def __init__(self) -> None:
        """None is."""
        self._batch = Batch(self._write)

    def add(self, make: Callable[[], bytes], *, can_wait: bool) -> None:
        """Write what `make` makes: in a moment, or now, after all that came before it."""
        self._batch.add(make)
        if not can_wait:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._batch.flush()

    def _write(self, making: Sequence[Callable[[], bytes]]) -> None:
        file = sys.stderr.buffer
        for some in _pieces(make() for make in making):
            with suppress(OSError):
                file.write(some)
                file.flush()


LINES = Lines()
"""Of this process."""

atexit.register(LINES.flush)


class Said(structlog.BoundLoggerBase):
    """Takes in what is said, when, and about which call; its line can be made later."""

    def _proxy_to_logger(self, method_name: str, event: str | None = None, **told: Any) -> None:
        told["timestamp"] = datetime.now(UTC)
        make = partial(copy_context().run, self._line, method_name, event, told)
        # The exception that is being handled will not be.
        LINES.add(make, can_wait=method_name in _CAN_WAIT and not told.get("exc_info"))

    def _line(self, method_name: str, event: str | None, told: dict[str, Any]) -> bytes:
        """The line, or none. What keeps it from being made keeps nothing from those beside it."""
        try:
            (line,), _ = self._process_event(method_name, event, told)
        except structlog.DropEvent:
            return b""
        except Exception as error:
            left = {"event": event, "level": method_name, "timestamp": told["timestamp"]}
            return as_json(None, method_name, left | {"cannot_be_told": type(error).__qualname__})
        return bytes(line)


def as_json(_: object, __: str, event: EventDict) -> bytes:
    """The line of an event: the last that is done with it."""
    try:
        return orjson.dumps(event, default=repr, option=_AS_IT_LOOKS)
    except TypeError:
        # A half of a character, which is no UTF-8, or a number of more than 64 bits.
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=_plain)
        return text.encode(errors="backslashreplace") + b"\n"


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return repr(value)


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
