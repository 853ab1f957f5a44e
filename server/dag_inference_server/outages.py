"""Trouble that lasts, which the log has once and not at every turn."""

from __future__ import annotations

from collections.abc import Hashable


class Outages:
    """Remembers what fails just now, and why."""

    def __init__(self) -> None:
        """All is well."""
        self._causes: dict[Hashable, str] = {}

    def is_news(self, what: Hashable, cause: str) -> bool:
        """Take in that something fails; whether it did not before, or for another cause."""
        is_news = self._causes.get(what) != cause
        self._causes[what] = cause
        return is_news

    def over(self, what: Hashable) -> None:
        """Take in that it does not fail, or is not tried any more."""
        self._causes.pop(what, None)
