"""How long runs of a DAG are queued these days."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from statistics import median_low

RECENT = 60.0
"""Seconds after which a run says no more about the next one."""

_MOST = 32
"""Runs of a DAG that are remembered."""

_FEWEST = 3
"""One run may have been unlucky."""


class QueueTimes:
    """Remembers, for a minute, how long runs were queued."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing; `clock` gives seconds."""
        self._clock = clock
        self._seen: defaultdict[str, deque[tuple[float, float]]] = defaultdict(
            lambda: deque(maxlen=_MOST)
        )

    def saw(self, dag_id: str, seconds: float) -> None:
        """A run of the DAG was queued for so long, or has been so far."""
        self._seen[dag_id].append((self._clock(), seconds))

    def usual(self, dag_id: str) -> float | None:
        """The median, in seconds; `None` where too little has been seen lately.

        It has to be forgotten: where every call is refused, no run would ever tell that the queue
        is empty again.
        """
        if dag_id not in self._seen:
            return None
        oldest = self._clock() - RECENT
        recent = [seconds for moment, seconds in self._seen[dag_id] if moment >= oldest]
        if not recent:
            del self._seen[dag_id]
        return median_low(recent) if len(recent) >= _FEWEST else None
