"""Where log lines go and how they look: to stderr, for people or for machines."""

from __future__ import annotations

import asyncio
import errno
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from dag_inference_server.json_lines import LINES, Said, as_json

_OF_LINES = frozenset({"exception", "stack", "said"})
"""What has lines of its own, and is not a caller's word."""

_FIRST: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
)


def configure(level: str, form: str = "text") -> None:
    """Log from `level` on, one line an event.

    Args:
        level: The least serious that is logged.
        form: `text`, coloured on a terminal, or `json`: one object a line.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    ours = _for_machines if form == "json" else _for_people
    ours(structlog.make_filtering_bound_logger(least))
    # What libraries have to say looks the same.
    root = logging.getLogger()
    root.setLevel(least)
    if not any(isinstance(handler, _Bridge) for handler in root.handlers):
        root.addHandler(_Bridge())
    # At each of its first steps it tells which event loop it has found: most of what `debug` says.
    logging.getLogger("grpc._cython.cygrpc").setLevel(max(least, logging.INFO))


def flush() -> None:
    """Write what is said and waits for more."""
    LINES.flush()


def _for_machines(filtering: type[FilteringBoundLogger]) -> None:
    structlog.configure(
        processors=[*_FIRST, without_its_text, as_json],
        # Which lines there are is up to the one, when they are made to the other.
        wrapper_class=type("FilteringSaid", (Said, filtering), {}),
        cache_logger_on_first_use=True,
    )


def _for_people(filtering: type[FilteringBoundLogger]) -> None:
    stamped = structlog.processors.TimeStamper(fmt="iso", utc=True)
    # An exception is text by then, and older versions warn of that but for this formatter.
    shown = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(
        processors=[*_FIRST, stamped, without_its_text, _printable, shown],
        wrapper_class=filtering,
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Forgiving(sys.stderr))),
        cache_logger_on_first_use=True,
    )


class _Forgiving:
    """A file of which a disk that is full, or a reader that is gone, takes lines and no calls."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> None:
        with suppress(OSError):
            self._file.write(line)
            self._file.flush()

    def flush(self) -> None:
        """Each line is on its way already."""


def tell_of_loop(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log what an event loop has to say, but for the objects in it: how they look shows too much.

    As its exception handler.
    """
    # What was called stands behind the words, with what it was called with.
    said, words, _ = context["message"].partition("Exception in callback")
    log = structlog.get_logger("asyncio")
    log.error("library", logger="asyncio", said=said + words, exc_info=context.get("exception"))


def without_its_text(_: object, __: str, event: EventDict) -> EventDict:
    """Of an exception, where it was raised and its class: its text can have a caller's values."""
    match event.pop("exc_info", None):
        case True:
            error = sys.exception()
        case (_, BaseException() as raised, _) | (BaseException() as raised):
            error = raised
        case _:
            error = None
    if error is not None:
        event["exception"] = "".join(_raised(error))
    return event


def _raised(error: BaseException) -> Iterator[str]:
    """Of each that led to it, the first first, and of it."""
    led = list[BaseException]()
    before: BaseException | None = error
    # What is raised anew from what it has caused leads back to itself.
    while before is not None and before not in led:
        led.append(before)
        before = before.__cause__ or (None if before.__suppress_context__ else before.__context__)
    for each in reversed(led):
        yield from traceback.format_tb(each.__traceback__)
        yield f"{type(each).__module__}.{type(each).__qualname__}"
        if isinstance(each, OSError) and (name := errno.errorcode.get(each.errno or 0)):
            yield f" ({name})"
        for part in each.exceptions if isinstance(each, BaseExceptionGroup) else ():
            yield "\nof which one is:\n"
            yield from _raised(part)
        if each is not error:
            yield "\nand then:\n"


def _printable(_: object, __: str, event: EventDict) -> EventDict:
    """What callers name comes from anywhere, and must not steer the terminal of who reads it."""
    return {key: _escaped(key, value) for key, value in event.items()}


def _escaped(key: str, value: object) -> object:
    if not isinstance(value, str) or value.isprintable() or key in _OF_LINES:
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)


class _Bridge(logging.Handler):
    """Hands over what is logged by Python's own logging. What cannot be is no library's problem."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = structlog.get_logger(record.name)
            said = {"logger": record.name, "said": record.getMessage()}
            log.log(_known(record.levelno), "library", exc_info=record.exc_info or None, **said)
        except Exception:
            self.handleError(record)


def _known(level: int) -> int:
    """The level that has a name, at or below one that need not."""
    return min(max(level // 10 * 10, logging.DEBUG), logging.CRITICAL)
