"""What libraries, and the event loop, have to say: it looks the same as what we do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import structlog


def bridge(least: int) -> None:
    """Tell what is said by Python's own logging, from that level on."""
    root = logging.getLogger()
    root.setLevel(least)
    if not any(isinstance(handler, _Bridge) for handler in root.handlers):
        root.addHandler(_Bridge())
    # At each of its first steps it tells which event loop it has found: most of what `debug` says.
    logging.getLogger("grpc._cython.cygrpc").setLevel(max(least, logging.INFO))


def tell_of_loop(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log what an event loop has to say, but for the objects in it: how they look shows too much.

    As its exception handler.
    """
    # What was called stands behind the words, with what it was called with.
    said, words, _ = context["message"].partition("Exception in callback")
    log = structlog.get_logger("asyncio")
    log.error("library", logger="asyncio", said=said + words, exc_info=context.get("exception"))


class _Bridge(logging.Handler):
    """Hands over what is logged by Python's own logging. What cannot be is no library's problem."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand it over, without the lock that a handler takes for a file of its own.

        The garbage collector may have something to log while another thread holds ours.
        """
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        said = {"logger": record.name}
        try:
            said["said"] = record.getMessage()
        except Exception as error:
            said["cannot_be_told"] = type(error).__qualname__
        log = structlog.get_logger(record.name)
        log.log(_known(record.levelno), "library", exc_info=record.exc_info or None, **said)


def _known(level: int) -> int:
    """The level that has a name, at or below one that need not."""
    return min(max(level // 10 * 10, logging.DEBUG), logging.CRITICAL)
