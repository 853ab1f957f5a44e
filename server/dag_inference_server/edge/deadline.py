"""The caller's deadline, and how long before it our answer leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

_MARGIN_SHARE = 0.15
_MARGIN_MIN = 0.03
_MARGIN_MAX = 0.25

_REUSED = 0.03
"""On one connection, gRPC's C core tells a deadline by one that it told before if that is longer
by no more than this part of it (`hpack_encoder.cc`, `TimeoutCompressorImpl`)."""

_ROUNDED_UP = (
    *((10_000.0, 100.0), (1000.0, 10.0), (100.0, 1.0)),
    *((10.0, 0.1), (1.0, 0.01), (0.0, 0.001)),
)
"""From which deadline on, in seconds, it tells it in units of how many, the next higher one
(`timeout_encoding.cc`): 120.2 s as 121, 3601 s as 3610."""

_C_CORE = " grpc-c/"
"""In the user agent of all clients on the C core: C++, Python, Ruby, PHP, Objective-C. Go's and
Java's tell deadlines as they are."""


def seconds_left(context: grpc.aio.ServicerContext[Any, Any], ago: float = 0.0) -> float | None:
    """Seconds until the caller's own clock rings, at least; `None` for ever.

    As it was so many seconds `ago`: what is told too long does not shrink with what is left.
    """
    told = context.time_remaining()
    if told is None:
        return None
    return _at_least(told + ago) if _is_c_core(context) else told + ago


def countdown(context: grpc.aio.ServicerContext[Any, Any]) -> Callable[[], float | None]:
    """Tells from now on what `seconds_left` says now, less the time since then.

    How much too long a deadline was told does not shrink with what is left of it.
    """
    left, start = seconds_left(context), time.monotonic()
    return lambda: None if left is None else left - (time.monotonic() - start)


def margin(time_remaining: float) -> float:
    """Seconds that an answer needs until the caller's own clock rings."""
    return min(max(_MARGIN_SHARE * time_remaining, _MARGIN_MIN), _MARGIN_MAX)


def _at_least(told: float) -> float:
    """What a deadline was before a C core told it so."""
    unit = next((unit for least, unit in _ROUNDED_UP if told > least), 0.0)
    return told * (1 - _REUSED) - unit


def _is_c_core(context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    return any(
        key == "user-agent" and _C_CORE in str(value)
        for key, value in context.invocation_metadata() or ()
    )


class Deadline:
    """When a call has to have its answer, however it ends."""

    def __init__(self, time_remaining: float | None, ago: float = 0.0) -> None:
        """So many seconds were left, so many seconds `ago`; `None` for ever."""
        self._missed_at: float | None = None
        if time_remaining is not None:
            start = time.monotonic() - ago
            self._missed_at = start + time_remaining - margin(time_remaining)

    @property
    def code(self) -> grpc.StatusCode:
        """The status of a call that is cut off now."""
        missed, left = grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED
        return missed if self.is_missed else left

    @property
    def is_missed(self) -> bool:
        """Whether a call that is cut off now is cut off by its deadline.

        That it is the caller who has gone away, in the last moment before it, cannot be told
        from it: two clocks ring, the caller's and ours.
        """
        return self._missed_at is not None and time.monotonic() >= self._missed_at
