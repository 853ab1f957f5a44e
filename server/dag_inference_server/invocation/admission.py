"""How many calls there may be at once, and whether new ones are taken at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle

from dag_inference.errors import AirflowUnavailable, Overloaded, ShuttingDown, Subject
from dag_inference_server.airflow import Breaker
from dag_inference_server.invocation.queue_times import RECENT, QueueTimes

RETRY_AFTER = timedelta(seconds=1)
"""When there may be a place again, or another replica in ours."""

_RETRIES = tuple(RETRY_AFTER * (2 + step / 8) for step in range(16))
"""When who is refused may come back, one after the other: all at once would be as many again. And
not too soon: each refusal costs what a call is made with."""


REASONS = (
    *("calls", "calls_per_dag", "triggers", "waits", "streams"),
    *("queue", "shutting_down", "airflow_away"),
)
"""Why calls are refused; the last one is not ours."""

_SETTINGS = {
    "calls": "MAX_CALLS",
    "calls_per_dag": "MAX_CALLS_PER_DAG",
    "triggers": "MAX_TRIGGERS",
    "waits": "MAX_CALLS",
    "streams": "MAX_CALLS",
}
"""Which setting it is that limits how many there are."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How many calls there may be."""

    calls: int
    """That make runs; as many again that wait for runs that exist, and as many streams of calls."""
    per_dag: int | None
    """Of those that make runs; `None` for no limit but `calls`."""
    triggers: int
    """Whose run has not been made yet."""
    refuses_hopeless: bool
    """Whether calls are refused that runs of their DAG will most likely be queued longer than."""


class Place:
    """A call's place, from its admission on."""

    def __init__(self, admission: Admission) -> None:
        """Wait for the trigger."""
        self._admission = admission
        self._waits_for_trigger = True

    def triggered(self) -> None:
        """The run is made, or will not be."""
        if self._waits_for_trigger:
            self._waits_for_trigger = False
            self._admission.triggers -= 1


class Admission:
    """Counts calls, and refuses those that are too many, at once and for nothing but that."""

    def __init__(self, limits: CallLimits, breaker: Breaker) -> None:
        """Let calls in within the limits, and while Airflow answers."""
        self._breaker = breaker
        self._limits = limits
        self._calls = 0
        """Those that make runs."""
        self._by_dag: Counter[str] = Counter()
        """The same, without the DAGs that have none: any DAG can be named."""
        self._waits = 0
        self._streams = 0
        self._is_closed = False
        self._queue_times = QueueTimes()
        self._retries = cycle(_RETRIES)
        self.triggers = 0
        """How many calls wait for their run to be made."""
        self.rejections = Counter(dict.fromkeys(REASONS, 0))
        """How many calls were refused so far, by the limit that they met."""

    @contextmanager
    def admit(self, dag_id: str) -> Iterator[Place]:
        """Keep a place for a call that makes a run, inside the block.

        Raises:
            Overloaded: There are as many as there may be.
            ShuttingDown: No more are taken.
            AirflowUnavailable: Airflow is away.
        """
        subject = Subject(dag_id)
        self._check_open(subject)
        if (full := self._full()) is not None:
            raise self._overloaded(*full, subject)
        limit, count = self._limits.per_dag, self._by_dag.get(dag_id, 0)
        if limit is not None and count >= limit:
            what = f"calls of {dag_id} in flight"
            raise self._overloaded("calls_per_dag", count, what, subject)
        self._calls += 1
        self._by_dag[dag_id] += 1
        self.triggers += 1
        place = Place(self)
        try:
            yield place
        finally:
            place.triggered()
            self._calls -= 1
            self._by_dag[dag_id] -= 1
            if not self._by_dag[dag_id]:
                del self._by_dag[dag_id]

    @contextmanager
    def admit_wait(self, dag_id: str, run_id: str) -> Iterator[None]:
        """Keep a place for a call that waits for a run that exists, as `admit`."""
        subject = Subject(dag_id, run_id)
        self._check_open(subject)
        if self._waits >= self._limits.calls:
            raise self._overloaded("waits", self._waits, "calls that wait for runs", subject)
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1

    @contextmanager
    def admit_stream(self) -> Iterator[None]:
        """Keep a place for a stream of calls inside the block; each call still needs its own.

        Raises:
            Overloaded: There are as many as there may be.
        """
        if self._streams >= self._limits.calls:
            raise self._overloaded("streams", self._streams, "streams of calls", Subject())
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def check_airflow(self, subject: Subject) -> None:
        """For what takes no place, and counts as no call: raise as `admit` if Airflow is away."""
        self._breaker.check(subject)

    def turn_away(self) -> Overloaded | None:
        """Why a call that makes a run is refused whatever it asks for; `None` if it may not be."""
        if self._is_closed or self._breaker.is_open:
            # Which is said first.
            return None
        full = self._full()
        return None if full is None else self._overloaded(*full, Subject())

    def was_queued(self, dag_id: str, seconds: float) -> None:
        """A run of the DAG was queued for so long, or has been so far."""
        self._queue_times.saw(dag_id, seconds)

    def check_queue(self, dag_id: str, patience: float) -> None:
        """See whether a call that waits so many seconds can hope for an answer.

        Raises:
            Overloaded: Runs of its DAG are queued for longer, and such calls are to be refused.
        """
        usual = self._queue_times.usual(dag_id)
        if not self.refuses_hopeless or usual is None or patience >= usual:
            return
        raise Overloaded(
            f"runs of {dag_id} have lately been queued for {usual:.1f} s, and the call has "
            f"{patience:.1f} s (REFUSE_HOPELESS)",
            subject=Subject(dag_id),
            # By then the queue may be shorter, or what is known of it forgotten.
            retry_after=timedelta(seconds=min(max(usual - patience, 1.0), RECENT)),
        )

    @property
    def refuses_hopeless(self) -> bool:
        """Whether it matters how long runs are queued."""
        return self._limits.refuses_hopeless

    def close(self) -> None:
        """Take no more calls."""
        self._is_closed = True

    def _check_open(self, subject: Subject) -> None:
        if self._is_closed:
            self.rejections["shutting_down"] += 1
            raise ShuttingDown(
                "the gateway is going away", subject=subject, retry_after=RETRY_AFTER
            )
        try:
            self._breaker.check(subject)
        except AirflowUnavailable:
            self.rejections["airflow_away"] += 1
            raise

    def _full(self) -> tuple[str, int, str] | None:
        """The limit that any call that makes a run would meet, and what there is so much of."""
        if self._calls >= self._limits.calls:
            return "calls", self._calls, "calls in flight"
        if self.triggers >= self._limits.triggers:
            return "triggers", self.triggers, "calls that wait for their trigger"
        return None

    def _overloaded(self, reason: str, count: int, what: str, subject: Subject) -> Overloaded:
        self.rejections[reason] += 1
        return Overloaded(
            f"there are {count} {what}, which is the limit ({_SETTINGS[reason]})",
            subject=subject,
            retry_after=next(self._retries),
        )
