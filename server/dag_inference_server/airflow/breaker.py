"""Whether Airflow is away, by what became of the requests so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from dag_inference.errors import AirflowDenied, AirflowUnavailable, Subject
from dag_inference_server.airflow.answer import RETRY_AFTER

log = structlog.get_logger(__name__)

_FAILURES = 5
"""In a row, of whatever kind: one request that Airflow cannot answer is not enough."""

_SINCE = 2.0
"""Seconds without one answer. Shorter outages are bridged by repeats."""

_TIMES_LAST_ANSWER, _LONGEST_SILENCE = 2, 10.0
"""How many times as long as its last answer took Airflow may be silent while it is tried, and how
many seconds at most: one that is slow is not away."""

_LONG = 0.5
"""Seconds without an answer that say something of Airflow, when somebody stops waiting for one. A
call with less time than most requests take says something of its caller."""

_SILENCE = "Airflow does not answer: it takes too long"


@dataclass(slots=True)
class Asked:
    """One request."""

    is_answered: bool = False
    """Whether an answer has come, whatever it says: some are given up before they are sent."""


class Breaker:
    """Is told of every request, and keeps new calls away from an Airflow that does not answer.

    An answer is what a call can go by, a refusal included. A proxy's page is none, nor is its wish
    to be asked less: a call would ask four times and be told the same. Who asks anyway closes it:
    the polls of calls in flight, and `trials`. That an Airflow hangs, which fails no request for
    long, is found out by trials as well.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was asked yet; `clock` gives seconds."""
        self._clock = clock
        self._failures = 0
        self._failing_since: float | None = None
        self._tried_since: float | None = None
        """When the first of the trials began of which none was answered yet."""
        self._took: float | None = None
        """Seconds that the last answer took; `None` before the first."""
        self._why = _SILENCE
        """What the last failure was."""
        self._away_since: float | None = None
        """Since when Airflow had not answered when the log was told that it is away."""
        self.is_in_doubt = True
        """Whether it is not known that Airflow answers: then it should be tried."""

    @contextmanager
    def asking(self, *, proves: bool = True) -> Iterator[Asked]:
        """Take in what becomes of a request that is made, and whose answer is read, in the block.

        With `proves` false it says nothing of those that calls need, but that they should be tried
        when it fails.
        """
        start = self._clock()
        asked = Asked()
        try:
            yield asked
        except AirflowUnavailable as error:
            asked.is_answered = False
            self.is_in_doubt = True
            if proves:
                self._failed(error.message)
            raise
        except AirflowDenied:
            # Of an account that is refused a trial tells nothing, but that Airflow has said so.
            self._tried_since = None
            raise
        finally:
            if asked.is_answered and proves:
                self._answered(self._clock() - start)

    def stopped_waiting(self, since: float) -> bool:
        """Take in that somebody waits no longer for an answer, most often by a deadline.

        That proves nothing of Airflow, which may just be slow, but that it should be tried.

        Args:
            since: When they began to wait, by the clock.

        Returns:
            Whether they had waited for long.
        """
        if self._clock() - since < _LONG:
            return False
        self.is_in_doubt = True
        return True

    def tried(self) -> None:
        """Take in that a trial is sent."""
        if self._tried_since is None:
            self._tried_since = self._clock()

    @property
    def is_up(self) -> bool:
        """Whether the last request that proves anything was answered, and Airflow is not away."""
        return self._took is not None and not self._failures and not self.is_open

    @property
    def is_open(self) -> bool:
        """Whether Airflow is away."""
        now, failing, tried = self._clock(), self._failing_since, self._tried_since
        if failing is not None and self._failures >= _FAILURES and now - failing >= _SINCE:
            return True
        patience = max(_SINCE, min(_TIMES_LAST_ANSWER * (self._took or 0.0), _LONGEST_SILENCE))
        return tried is not None and now - tried >= patience

    def check(self, subject: Subject) -> None:
        """Raise `AirflowUnavailable` at once if Airflow is away."""
        if self.is_open:
            raise AirflowUnavailable(
                "Airflow has not answered for a while", subject=subject, retry_after=RETRY_AFTER
            )

    def tell(self) -> None:
        """Tell the log if Airflow has gone away or come back since the last time."""
        if self.is_open and self._away_since is None:
            known = (self._failing_since, self._tried_since)
            self._away_since = min(since for since in known if since is not None)
            log.warning("airflow_is_away", error=self._why)
        elif self._away_since is not None and not self.is_open:
            silent = round(self._clock() - self._away_since, 1)
            self._away_since = None
            log.info("airflow_is_back", unanswered_for=silent)

    def _failed(self, why: str) -> None:
        if self._failing_since is None:
            self._failing_since = self._clock()
        self._failures += 1
        self._why = why

    def _answered(self, took: float) -> None:
        self.is_in_doubt = False
        self._failures, self._why = 0, _SILENCE
        self._failing_since = self._tried_since = None
        self._took = took
