"""What gateways write into the note of a run: for each other, and for people.

A gateway keeps nothing of its own, so that any other one, or the same after a restart, has to
find here what becomes of a run.
"""

from __future__ import annotations

import re
from datetime import timedelta
from enum import Enum

_OURS = "dag-inference: "
# Whatever people write there: of eight digits at most, which are three years.
_LIMIT = re.compile(rf"{_OURS}run_timeout (\d{{1,8}}(?:\.\d{{1,6}})?) s\b")
_TRACE = re.compile(rf"(?:^{_OURS}|; )trace ([0-9a-f]{{32}})$")
_TIMED_OUT = f"{_OURS}ended by its run_timeout"
_CANCELLED = f"{_OURS}cancelled"


class EndedBy(Enum):
    """What made a gateway end a run."""

    CANCEL = "cancel"
    RUN_TIMEOUT = "run_timeout"


def limited(limit: timedelta) -> str:
    """The note of a run that may take so long."""
    return f"{_OURS}run_timeout {_seconds(limit)} s, counted from when the run was queued"


def limit_in(note: str | None) -> timedelta | None:
    """How long a run may take by its note; `None` for no limit, or a run that was ended."""
    found = _LIMIT.match(note or "")
    return timedelta(seconds=float(found[1])) if found else None


def cancelled(why: str, comment: str = "") -> str:
    """The note of a run that is cancelled. A comment is the caller's."""
    said = f": {comment}" if comment else ""
    return f"{_CANCELLED} {why}{said}"


def timed_out(limit: timedelta) -> str:
    """The note of a run that has outlived its limit."""
    return f"{_TIMED_OUT} of {_seconds(limit)} s"


def ended_by(note: str | None) -> EndedBy | None:
    """What made a gateway end the run, by its note; `None` if none did."""
    text = note or ""
    if text.startswith(_CANCELLED):
        return EndedBy.CANCEL
    return EndedBy.RUN_TIMEOUT if text.startswith(_TIMED_OUT) else None


def traced(note: str | None, trace_id: str | None) -> str | None:
    """A note, or none, that tells the trace of the call that made the run, too."""
    if trace_id is None:
        return note
    return f"{note}; trace {trace_id}" if note else f"{_OURS}trace {trace_id}"


def trace_in(note: str | None) -> str | None:
    """The trace of the call that made a run, by its note."""
    found = _TRACE.search(note or "")
    return found[1] if found else None


def _seconds(span: timedelta) -> str:
    # Never as 1e+06.
    return f"{span.total_seconds():.6f}".rstrip("0").rstrip(".")
