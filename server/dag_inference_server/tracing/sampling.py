"""Which calls are recorded that come without a trace: some. Of the others, the caller decides."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from opentelemetry.sdk.environment_variables import OTEL_TRACES_SAMPLER


def chooser(per_second: float) -> Callable[[], bool]:
    """Says of each call without a trace whether it gets one.

    Asked before anything is made for the call: the SDK's own samplers decide when half of the
    span's cost is spent. One that the environment names sees every call all the same.
    """
    return (lambda: True) if OTEL_TRACES_SAMPLER in os.environ else SomePerSecond(per_second)


_SAVED = 10.0
"""Seconds whose share may come at once."""


class SomePerSecond:
    """Takes all while there are few, and no more than so many when there are many.

    A share would miss the one call of a quiet hour that somebody looks for, and still cost a
    busy gateway much.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Take `per_second`, and at once as many as there were none of before."""
        self._per_second = per_second
        self._most = max(_SAVED * per_second, 1.0)
        self._clock = clock
        self._left, self._seen = self._most, clock()

    def __call__(self) -> bool:
        """Whether this one is taken."""
        now = self._clock()
        self._left = min(self._most, self._left + self._per_second * (now - self._seen))
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
