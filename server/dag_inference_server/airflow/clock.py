"""Airflow's clock, as far as its answers tell."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_LIVES = 60.0
"""Seconds that the best idea of the clock is kept. Clocks drift, and are set."""

_DATE_ERROR = timedelta(seconds=3)
"""A `Date` header is up to two seconds old: cut to whole seconds, and written once a second."""


class Clock:
    """Airflow's clock or a little behind it, from its first answer on.

    A stamp in an answer was written before the answer came: the one that leaves our clock
    least ahead is the best. Ours is the monotonic one, which nobody sets.
    """

    def __init__(self) -> None:
        """Agree with this machine's clock."""
        self._start = datetime.now(UTC) - timedelta(seconds=time.monotonic())
        """The time in Airflow when our clock showed nothing."""
        self._best_until = 0.0

    def now(self) -> datetime:
        """The time in Airflow."""
        return self._start + timedelta(seconds=time.monotonic())

    def saw(self, stamp: datetime) -> None:
        """Learn from what Airflow has written a moment ago: a `Date`, a new run's `queued_at`."""
        moment = time.monotonic()
        start = stamp - timedelta(seconds=moment)
        if moment >= self._best_until or not self._start - _DATE_ERROR < start < self._start:
            self._start, self._best_until = start, moment + _LIVES
