"""What was true, and when: the small model that every answer is judged by."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any


class Fact(StrEnum):
    """What can hold for a while."""

    SUCCEEDED = "the result task has succeeded"
    FAILED = "the result is lost to a failed task"
    ENDED = "the run has ended"
    DELETED = "the run was deleted at least once"
    TROUBLE = "requests to Airflow go wrong"


@dataclass(slots=True)
class Span:
    """For how long a fact held, on the clock of the test's event loop."""

    fact: Fact
    since: float
    until: float = float("inf")
    value: Any = None
    """Of a success: what the task returned. Of an end that somebody made: the note of it."""


class Truth:
    """Spans of facts, by what they are of: a run's id, or all of Airflow."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self._spans: defaultdict[str, list[Span]] = defaultdict(list)

    def now(self) -> float:
        """The clock."""
        return asyncio.get_running_loop().time()

    def begins(self, of: str, fact: Fact, value: Any = None) -> None:
        """From now on it holds."""
        self._spans[of].append(Span(fact, self.now(), value=value))

    def ends(self, of: str, *facts: Fact) -> None:
        """From now on none of these holds."""
        for span in self._spans[of]:
            if span.fact in facts:
                span.until = min(span.until, self.now())

    def during(self, of: str, fact: Fact, since: float, until: float) -> list[Span]:
        """When it held within a time."""
        spans = self.all_of(of, fact)
        return [span for span in spans if span.since <= until and span.until >= since]

    def all_of(self, of: str, fact: Fact) -> list[Span]:
        """When it ever held."""
        return [span for span in self._spans[of] if span.fact is fact]

    def spans(self) -> Iterator[Span]:
        """All that ever held."""
        return chain.from_iterable(self._spans.values())

    def holds(self, of: str, fact: Fact) -> Span | None:
        """Whether it holds now."""
        return next(iter(self.during(of, fact, self.now(), self.now())), None)
