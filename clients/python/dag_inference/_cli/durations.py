"""Spans of time for people."""

from __future__ import annotations

from datetime import timedelta

_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)


def short(span: timedelta) -> str:
    """Three digits are enough: `12 ms`, `1.23 s`, `4 min 05 s`."""
    if span < _SECOND:
        return f"{span / timedelta(milliseconds=1):.0f} ms"
    if span < _MINUTE:
        return f"{span.total_seconds():.3g} s"
    minutes, rest = divmod(span, _MINUTE)
    return f"{minutes} min {rest.seconds:02} s"
