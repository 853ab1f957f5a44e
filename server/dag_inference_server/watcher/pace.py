"""How often Airflow is asked for news."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

_AGE_SHARE = 0.02
"""The interval in parts of the youngest run's age: a run of 4 s is asked for every 0.08 s, one
of 10 s every 0.2 s, unless the bounds say otherwise."""


class Rest(NamedTuple):
    """Seconds between the end of a look and the next."""

    at_least: float
    """Also when a new run comes meanwhile."""
    at_most: float


@dataclass(frozen=True, slots=True)
class Pace:
    """Fast while young runs are in flight, slower for older ones, slower still in trouble."""

    shortest: float
    """Seconds from one look to the next at least."""
    longest: float
    """Seconds at most while Airflow answers."""
    troubled: float
    """Seconds at most while it does not."""

    def slower(self, times: float) -> Pace:
        """A pace with longer intervals."""
        return replace(self, shortest=self.shortest * times, longest=self.longest * times)

    def rest(self, *, youngest: float, took: float, failures: int) -> Rest:
        """How long to rest after a look.

        Args:
            youngest: Seconds since the youngest run in flight was made.
            took: Seconds that the look took. Airflow is left alone for half as long at least, up
                to the longest interval: one hiccup of it must not become two.
            failures: Looks in a row that failed, this one included.
        """
        if failures:
            pause = min(self.shortest * 2.0 ** min(failures, 10), self.troubled)
            return Rest(pause, pause)
        interval = min(max(self.shortest, youngest * _AGE_SHARE), self.longest)
        left_alone = min(took / 2, self.longest)
        return Rest(
            max(self.shortest - took, left_alone),
            max(interval - took, left_alone),
        )
