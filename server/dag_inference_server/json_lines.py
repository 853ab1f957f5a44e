"""A log of JSON, an object a line: what can wait is made, and written, many lines at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO

import orjson
import structlog
from structlog.typing import EventDict

from dag_inference_server.batch import Batch

_CAN_WAIT = frozenset({"debug", "info"})

_AS_IT_LOOKS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_APPEND_NEWLINE
"""What does not show some of its fields keeps them to itself in the log, too."""


class Lines:
    """A file of lines. A disk that is full, or a reader that is gone, takes them and no calls."""

    def __init__(self, file: BinaryIO) -> None:
        """Write to this file."""
        self._file = file
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
        lines = b"".join([make() for make in making])
        with suppress(OSError):
            self._file.write(lines)
            self._file.flush()


class Said(structlog.BoundLoggerBase):
    """Takes in what is said, when, and about which call; its line can be made later."""

    _logger: Lines

    def _proxy_to_logger(
        self, method_name: str, event: str | None = None, *_: object, **told: Any
    ) -> None:
        told["timestamp"] = datetime.now(UTC)
        make = partial(copy_context().run, self._line, method_name, event, told)
        # The exception that is being handled will not be.
        can_wait = method_name in _CAN_WAIT and not told.get("exc_info")
        self._logger.add(make, can_wait=can_wait)

    def _line(self, method_name: str, event: str | None, told: dict[str, Any]) -> bytes:
        (line,), _ = self._process_event(method_name, event, told)
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
