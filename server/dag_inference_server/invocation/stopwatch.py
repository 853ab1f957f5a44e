"""Where the time of a call went."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from dag_inference_server.airflow import DagRun, TaskInstance
from dag_inference_server.invocation.call import Timing


class Stopwatch:
    """Measures the gateway's own stages of one call, from its making on."""

    def __init__(self) -> None:
        """Start."""
        self._start = time.monotonic()
        self.arrived_at = datetime.now(UTC)
        """By our clock."""
        self._admitted: float | None = None
        self._accepted: float | None = None
        self._known: float | None = None
        self._ahead = timedelta(0)
        """How far Airflow's clock is ahead of ours, at least; negative if it is behind."""

    @property
    def elapsed(self) -> float:
        """Seconds since its making."""
        return time.monotonic() - self._start

    def admitted(self) -> None:
        """Airflow is about to be asked for the run."""
        self._admitted = time.monotonic()

    def accepted(self, queued_at: datetime | None = None) -> None:
        """The run exists.

        Args:
            queued_at: When it was made, by Airflow's clock, if it was made for this call: between
                two moments of ours, then. That tells clocks apart that differ by more.
        """
        self._accepted = time.monotonic()
        if queued_at is not None and self._admitted is not None:
            earliest, latest = self._ours(self._admitted), self._ours(self._accepted)
            self._ahead = queued_at - min(max(queued_at, earliest), latest)

    def known(self) -> None:
        """It is known that the result is there. The last time counts."""
        self._known = time.monotonic()

    @property
    def is_known(self) -> bool:
        """Whether it is known that the result is there."""
        return self._known is not None

    def timing(
        self, run: DagRun, results: Iterable[TaskInstance], instances: Iterable[TaskInstance]
    ) -> Timing:
        """The stages, now that the answer is ready.

        Args:
            run: The run.
            results: The instances that hold the result.
            instances: All known instances of the run.
        """
        now = time.monotonic()
        first, last = _first_start(instances), last_end(run, results)
        known_at = None if self._known is None else self._theirs(self._known)
        return self._timing(
            now,
            queued=self._between(run.queued_at, first),
            running=self._between(first, last),
            detection=self._between(last, known_at),
            value_read=timedelta(seconds=now - (self._known or now)),
            ended_at=last,
        )

    def so_far(
        self,
        run: DagRun | None,
        instances: Iterable[TaskInstance],
        ended_at: datetime | None,
        *,
        sees_starts: bool,
    ) -> Timing:
        """The stages up to an error: those that are over, and what is under way ends now.

        Args:
            run: The run; `None` if Airflow has shown none.
            instances: All known instances of the run.
            ended_at: When that had ended what the error is about; `None` if nothing has.
            sees_starts: Whether it would be known by now if a task had started. If not, the run
                was queued until its own start, if that is known, and then nobody knows.
        """
        now = time.monotonic()
        first, last = _first_start(instances), ended_at or self._theirs(now)
        if run is None:
            return self._timing(now)
        started = first or (last if sees_starts else run.start_date)
        return self._timing(
            now,
            queued=self._between(run.queued_at, started),
            running=self._between(first, last),
            ended_at=last if first else started,
        )

    def _timing(
        self,
        now: float,
        *,
        queued: timedelta | None = None,
        running: timedelta | None = None,
        detection: timedelta | None = None,
        value_read: timedelta | None = None,
        ended_at: datetime | None = None,
    ) -> Timing:
        """The gateway's own stages beside Airflow's, and what is left of the whole."""
        admitted = now if self._admitted is None else self._admitted
        accepted = now if self._accepted is None else self._accepted
        admission = timedelta(seconds=admitted - self._start)
        trigger = None if self._admitted is None else timedelta(seconds=accepted - admitted)
        total = timedelta(seconds=now - self._start)
        stages = (admission, trigger, queued, running, detection, value_read)
        spent = sum((stage for stage in stages if stage), timedelta(0))
        return Timing(
            admission=admission,
            trigger=trigger,
            queued=queued,
            running=running,
            detection=detection,
            value_read=value_read,
            # What is refused before it is asked for leaves nothing.
            unattributed=None if trigger is None else max(total - spent, timedelta(0)),
            total=total,
            ended_at=ended_at,
        )

    def _theirs(self, moment: float) -> datetime:
        """A moment as a stamp by Airflow's clock, as far as that is known."""
        return self._ours(moment) + self._ahead

    def _ours(self, moment: float) -> datetime:
        """A moment as a stamp by our clock."""
        return self.arrived_at + timedelta(seconds=moment - self._start)

    def _between(self, start: datetime | None, end: datetime | None) -> timedelta | None:
        """How much of the time from one stamp of Airflow's to another fell into this call.

        Clocks that differ must not make it negative.
        """
        if start is None or end is None:
            return None
        return max(end - max(start, self.arrived_at + self._ahead), timedelta(0))


def _first_start(instances: Iterable[TaskInstance]) -> datetime | None:
    return min((i.start_date for i in instances if i.start_date), default=None)


def last_end(run: DagRun, results: Iterable[TaskInstance]) -> datetime | None:
    """When the last of the instances that hold the result ended; without them, the run."""
    return max((i.end_date for i in results if i.end_date), default=run.end_date)
