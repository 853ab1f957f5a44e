"""Whether Airflow is away, by what became of the requests so far."""

from __future__ import annotations

import time

from dag_inference.errors import AirflowUnavailable, Subject
from dag_inference_server.airflow.answer import RETRY_AFTER

_FAILURES = 5
"""In a row, of whatever kind: one request that Airflow cannot answer is not enough."""

_SINCE = 2.0
"""Seconds without one answer. Shorter outages are bridged by repeats."""


class Breaker:
    """Is told of every request, and keeps new calls away from an Airflow that does not answer.

    Who asks anyway closes it: the polls of calls in flight, and the look at Airflow's health every
    second while it is away. So it needs no trials of its own.
    """

    def __init__(self) -> None:
        """Airflow answers, until the contrary is seen."""
        self._failures = 0
        self._failing_since = 0.0

    def requested(self, operation: str, status: int | None, seconds: float) -> None:
        """A request to Airflow was answered, or not."""
        if status is not None and status < 500:
            self._failures = 0
            return
        if not self._failures:
            self._failing_since = time.monotonic()
        self._failures += 1

    @property
    def is_open(self) -> bool:
        """Whether Airflow is away."""
        if self._failures < _FAILURES:
            return False
        return time.monotonic() - self._failing_since >= _SINCE

    def check(self, subject: Subject) -> None:
        """Raise `AirflowUnavailable` at once if Airflow is away."""
        if self.is_open:
            raise AirflowUnavailable(
                "Airflow has not answered for a while", subject=subject, retry_after=RETRY_AFTER
            )
