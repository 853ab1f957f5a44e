"""How a line looks: for people, or for machines."""

from __future__ import annotations

import json
from datetime import datetime

import orjson
import structlog
from structlog.typing import EventDict

_AS_IT_LOOKS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_APPEND_NEWLINE
"""What does not show some of its fields keeps them to itself in the log, too."""

_OF_LINES = frozenset({"exception", "stack", "said"})
"""What has lines of its own, and is not a caller's word."""


def as_json(_: object, __: str, event: EventDict) -> bytes:
    """An object: the last that is done with an event."""
    try:
        return orjson.dumps(event, default=repr, option=_AS_IT_LOOKS)
    except TypeError:
        # A half of a character, which is no UTF-8, or a number of more than 64 bits.
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=_plain)
        return text.encode(errors="backslashreplace") + b"\n"


def _plain(value: object) -> str:
    return _told(value) if isinstance(value, datetime) else repr(value)


def _told(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


class AsText:
    """A line to read, coloured or not: the last that is done with an event."""

    def __init__(self, *, colors: bool, encoding: str) -> None:
        """Colour it, if it is for a terminal; what the encoding does not have is escaped."""
        self._encoding = encoding
        # An exception is text by then, and older versions warn of that but for this formatter.
        self._render = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        )

    def __call__(self, logger: object, method_name: str, event: EventDict) -> bytes:
        """Make it."""
        event["timestamp"] = _told(event["timestamp"])
        line = self._render(logger, method_name, event) + "\n"
        return line.encode(self._encoding, "backslashreplace")


def printable(_: object, __: str, event: EventDict) -> EventDict:
    """What callers name comes from anywhere, and must not steer the terminal of who reads it."""
    return {key: _escaped(key, value) for key, value in event.items()}


def _escaped(key: str, value: object) -> object:
    if not isinstance(value, str) or value.isprintable() or key in _OF_LINES:
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
