"""Log lines, of our own and of libraries: how they look, and their way to stderr."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from dag_inference_server.logs.exceptions import without_its_text
from dag_inference_server.logs.forms import AsText, as_json, printable
from dag_inference_server.logs.libraries import bridge, tell_of_loop
from dag_inference_server.logs.lines import Said, flush, write

__all__ = ["configure", "flush", "tell_of_loop", "without_its_text", "write"]


def configure(level: str, form: str = "text") -> None:
    """Log from `level` on, one line an event.

    Args:
        level: The least serious that is logged.
        form: `text`, coloured on a terminal, or `json`: one object a line.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    as_text = AsText(colors=sys.stderr.isatty(), encoding=sys.stderr.encoding)
    looks: tuple[Processor, ...] = (as_json,) if form == "json" else (printable, as_text)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            without_its_text,
            *looks,
        ],
        # Which lines there are is up to the one, when they are made to the other.
        wrapper_class=type(
            "FilteringSaid", (Said, structlog.make_filtering_bound_logger(least)), {}
        ),
        # Nobody is asked to write by it.
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    bridge(least)
