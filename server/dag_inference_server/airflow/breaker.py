"""Whether Airflow is away, by what became of the requests so far."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from dag_inference.errors import AirflowUnavailable, Subject
from dag_inference_server.airflow.answer import RETRY_AFTER

_FAILURES = 5
"""In a row, of whatever kind: one request that Airflow cannot answer is not enough."""

_SINCE = 2.0
"""Seconds without one answer. Shorter outages are bridged by repeats."""


class Breaker:
    """Is told of every request, and keeps new calls away from an Airflow that does not answer.

    An answer is what a call can go by, a refusal included. A proxy's page is none, nor is its wish
    to be asked less: a call would ask four times and be told the same. Who asks anyway closes it:
    the polls of calls in flight, and `trials`.
    """

    def __init__(self) -> None:
        """Airflow answers, until the contrary is seen."""
        self._failures = 0
        self._failing_since = 0.0

    @contextmanager
    def asking(self, *, proves: bool = True) -> Iterator[None]:
        """Take in what becomes of a request that is made, and whose answer is read, in the block.

        With `proves` false, an answer says nothing of those that calls need.
        """
        try:
            yield
        except AirflowUnavailable:
            self.unanswered()
            raise
        except Exception:
            self._answered(proves)
            raise
        self._answered(proves)

    def unanswered(self) -> None:
        """A request got no answer that a call could go by."""
        if not self._failures:
            self._failing_since = time.monotonic()
        self._failures += 1

    def _answered(self, proves: bool) -> None:
        if proves:
            self._failures = 0

    @property
    def is_answered(self) -> bool:
        """Whether the last request was answered."""
        return not self._failures

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
