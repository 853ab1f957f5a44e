"""Whether Airflow is away, by what became of the requests so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from dag_inference.errors import AirflowUnavailable, Subject
from dag_inference_server.airflow.answer import RETRY_AFTER

log = structlog.get_logger(__name__)

_FAILURES = 5
"""In a row, of whatever kind: one request that Airflow cannot answer is not enough."""

_SINCE = 2.0
"""Seconds without one answer. Shorter outages are bridged by repeats."""

_LONG = 0.5
"""Seconds without an answer that say something of Airflow, when somebody stops waiting for one. A
call with less time than most requests take says something of its caller."""


@dataclass(slots=True)
class Asked:
    """One request."""

    is_answered: bool = False
    """Whether an answer has come, whatever it says: some are given up before they are sent."""


class Breaker:
    """Is told of every request, and keeps new calls away from an Airflow that does not answer.

    And of those who stop waiting: before a request that hangs fails by itself, most do.

    An answer is what a call can go by, a refusal included. A proxy's page is none, nor is its wish
    to be asked less: a call would ask four times and be told the same. Who asks anyway closes it:
    the polls of calls in flight, and `trials`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was asked yet; `clock` gives seconds."""
        self._clock = clock
        self._counted_until = -math.inf
        """Until when it is known what Airflow did: it answered, or its silence was counted."""
        self._failures = 0
        self._failing_since = 0.0
        self._why = ""
        """What the last failure was."""
        self._is_told = False
        """Whether the log has that Airflow is away."""
        self.is_up = False
        """Whether the last request that proves anything was answered."""
        self.is_in_doubt = True
        """Whether it is not known that Airflow answers: then somebody should ask."""

    @contextmanager
    def asking(self, *, proves: bool = True) -> Iterator[Asked]:
        """Take in what becomes of a request that is made, and whose answer is read, in the block.

        With `proves` false it says nothing of those that calls need, but that they should be tried
        when it fails.
        """
        asked = Asked()
        try:
            yield asked
        except AirflowUnavailable as error:
            asked.is_answered = False
            self._unanswered(error.message, proves=proves)
            raise
        finally:
            if asked.is_answered and proves:
                self._tell_if_back()
                self._failures, self._counted_until = 0, self._clock()
                self.is_up, self.is_in_doubt = True, False

    def stopped_waiting(self, since: float, *, proves: bool = True) -> bool:
        """Take in that somebody waits no longer for an answer, most often by a deadline.

        As many as may wait through the same half second, it counts once.

        Args:
            since: When they began to wait, by the clock.
            proves: As for `asking`.

        Returns:
            Whether they had waited for long.
        """
        now = self._clock()
        if now - since < _LONG:
            return False
        if now - self._counted_until >= _LONG:
            if proves:
                self._counted_until = now
            self._unanswered("Airflow does not answer: it takes too long", proves=proves)
        return True

    @property
    def is_open(self) -> bool:
        """Whether Airflow is away."""
        if self._failures < _FAILURES:
            return False
        return self._clock() - self._failing_since >= _SINCE

    def check(self, subject: Subject) -> None:
        """Raise `AirflowUnavailable` at once if Airflow is away."""
        if self.is_open:
            self._tell_if_away()
            raise AirflowUnavailable(
                "Airflow has not answered for a while", subject=subject, retry_after=RETRY_AFTER
            )

    def _unanswered(self, why: str, *, proves: bool) -> None:
        """A request got no answer that a call could go by; `why` is for the log."""
        self.is_in_doubt = True
        if not proves:
            return
        self.is_up = False
        if not self._failures:
            self._failing_since = self._clock()
        self._failures += 1
        self._why = why
        self._tell_if_away()

    def _tell_if_away(self) -> None:
        """Tell the log, once: by the first call that is kept away, or the next failure."""
        if self.is_open and not self._is_told:
            self._is_told = True
            log.warning("airflow_is_away", error=self._why)

    def _tell_if_back(self) -> None:
        if self._is_told:
            self._is_told = False
            silent = round(self._clock() - self._failing_since, 1)
            log.info("airflow_is_back", unanswered_for=silent)
