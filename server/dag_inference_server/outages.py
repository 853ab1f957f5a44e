"""Trouble that lasts, which the log has once a minute and not at every turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

_AGAIN_AFTER = 60.0
"""Seconds."""

_MOST = 1000
"""Causes that are remembered: what fails may be named by callers."""


class Outages:
    """Remembers what was told lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was."""
        self._clock = clock
        self._told: dict[tuple[Hashable, str], float] = {}

    def is_news(self, what: Hashable, cause: str) -> bool:
        """Take in that something fails; whether it is to be told, as it was not lately."""
        now = self._clock()
        # The oldest stand first.
        for told, since in list(self._told.items()):
            if now - since < _AGAIN_AFTER and len(self._told) < _MOST:
                break
            del self._told[told]
        if (what, cause) in self._told:
            return False
        self._told[what, cause] = now
        return True

    def over(self, what: Hashable) -> None:
        """Take in that it does not fail any more: when it does again, that is news."""
        self._told = {told: since for told, since in self._told.items() if told[0] != what}
