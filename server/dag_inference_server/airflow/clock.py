"""Airflow's clock, as far as its answers tell."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_LIVES = 60.0
"""Seconds that the best idea of the clock is kept. Clocks drift, and are set."""

_DATE_ERROR = timedelta(seconds=3)
"""A `Date` header is up to two seconds old: cut to whole seconds, and written once a second."""


class Clock:
    """Never ahead of Airflow's, and behind it by little.

    A stamp in an answer was written before the answer came: the latest one, as seen from
    our clock, is the best.
    """

    def __init__(self) -> None:
        """Agree with ours."""
        self._skew = timedelta(0)
        self._best_until = 0.0

    def now(self) -> datetime:
        """The time in Airflow."""
        return datetime.now(UTC) + self._skew

    def saw(self, stamp: datetime) -> None:
        """Learn from what Airflow has written a moment ago: a `Date`, a new run's `queued_at`."""
        skew, moment = stamp - datetime.now(UTC), time.monotonic()
        if moment >= self._best_until or not self._skew - _DATE_ERROR < skew < self._skew:
            self._skew, self._best_until = skew, moment + _LIVES
