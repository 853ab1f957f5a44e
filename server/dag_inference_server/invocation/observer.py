"""Who is told how calls end. The use case knows no metrics."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from dag_inference.errors import DagInferenceError, Subject
from dag_inference_server.invocation.call import Outcome, Timing

CALLER_LEFT = "CALLER_LEFT"
"""How a call ends whose caller goes away. No reason of the contract: nobody is told it."""

DEADLINE_MISSED = "DEADLINE_MISSED"
"""How a call ends whose deadline passes before the gateway has answered, which should not be."""


class Observer(Protocol):
    """Is told of every call, once."""

    def answered(self, outcome: Outcome, translation: timedelta) -> None:
        """It has its result, of which the answer was made in so long."""

    def failed(
        self,
        dag_id: str,
        error: DagInferenceError,
        took: timedelta | None,
        timing: Timing | None = None,
    ) -> None:
        """It has an error, after so long; `None` if it never had a run.

        Where the time went, `timing` says; `None` of a call that was not even read.
        """

    def unanswered(self, subject: Subject, why: str) -> None:
        """It ends without an answer: `CALLER_LEFT` or `DEADLINE_MISSED`."""


class Observers:
    """Several, who are all told."""

    def __init__(self, *observers: Observer) -> None:
        """Tell these."""
        self._observers = observers

    def answered(self, outcome: Outcome, translation: timedelta) -> None:
        """It has its result, of which the answer was made in so long."""
        for observer in self._observers:
            observer.answered(outcome, translation)

    def failed(
        self,
        dag_id: str,
        error: DagInferenceError,
        took: timedelta | None,
        timing: Timing | None = None,
    ) -> None:
        """It has an error, after so long; `None` if it never had a run."""
        for observer in self._observers:
            observer.failed(dag_id, error, took, timing)

    def unanswered(self, subject: Subject, why: str) -> None:
        """It ends without an answer: `CALLER_LEFT` or `DEADLINE_MISSED`."""
        for observer in self._observers:
            observer.unanswered(subject, why)
