"""How often Airflow is asked for news."""

from __future__ import annotations

from dataclasses import dataclass, replace

_AGE_SHARE = 0.02
"""The interval in parts of the youngest run's age: a run of 5 s is asked for every 0.1 s, one
of 10 s every 0.2 s, unless the bounds say otherwise."""


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

    def pause(self, *, youngest: float, took: float, failures: int) -> float:
        """Seconds between the end of a look and the next.

        Args:
            youngest: Seconds since the youngest run in flight was made.
            took: Seconds that the look took. Airflow is left alone for as long at least.
            failures: Looks in a row that failed, this one included.
        """
        if failures:
            return min(self.shortest * 2.0 ** min(failures, 10), self.troubled)
        interval = min(max(self.shortest, youngest * _AGE_SHARE), self.longest)
        return max(interval - took, min(took, self.troubled))
