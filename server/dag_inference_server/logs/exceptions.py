"""What the log tells of an exception: no text of its own, which can have a caller's values."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator

from structlog.typing import EventDict


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
