"""A window on what Airflow writes, that moves on with each look and overlaps with the last."""

from __future__ import annotations

from datetime import datetime, timedelta

_OVERLAP = timedelta(seconds=1)
"""How far each look reaches back behind the one before. A row shows up to a quarter of a second
after its stamp, and our idea of Airflow's clock is a little behind it."""

_LONG_EVERY = timedelta(seconds=15)
_LONG_OVERLAP = timedelta(seconds=30)
"""How often a look reaches back further, and how far behind the one like it before: for rows
that were committed late, and Airflow hosts whose clocks differ."""


class Window:
    """Since when each look asks for changes. Short overlaps often, long ones seldom."""

    def __init__(self, now: datetime) -> None:
        """Begin now: what changed before is nobody's news."""
        self._since = self._long_since = now

    @property
    def last(self) -> datetime:
        """When the last look began that went well."""
        return self._since

    def since(self, now: datetime) -> datetime:
        """Since when a look that begins now has to ask."""
        if self._is_long(now):
            return min(self._long_since, now) - _LONG_OVERLAP
        return self._since - _OVERLAP

    def looked(self, began: datetime) -> None:
        """Move on, after a look that went well. After another, the next reaches back further."""
        if self._is_long(began):
            self._long_since = began
        self._since = began

    def _is_long(self, now: datetime) -> bool:
        # Also when Airflow's clock was set back, or ours was wrong about it.
        return now - self._long_since > _LONG_EVERY or now < self._since
