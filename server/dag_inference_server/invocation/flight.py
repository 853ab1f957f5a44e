"""One call under way, and what is known of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from dag_inference.errors import DagInferenceError, Subject
from dag_inference_server.airflow import DagRun, Doubt, TaskInstance
from dag_inference_server.invocation.call import Call, Listener, Timing, Wanted
from dag_inference_server.invocation.stopwatch import Stopwatch, last_end
from dag_inference_server.watcher import Follower

TRIGGERING, WAITING, ANSWERING = STAGES = ("triggering", "waiting", "answering")
"""What a call waits for: its run, the result, the reading of it."""


@dataclass(slots=True, eq=False)
class Flight:
    """One call under way."""

    wanted: Wanted
    listener: Listener
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    run_id: str | None = None
    """The run, once it is known to exist."""
    run: DagRun | None = None
    """The run as last seen; `None` until it was."""
    follower: Follower | None = None
    """Its view of the run, from before Airflow is asked for that."""
    has_looked: bool = False
    """Whether it was just looked up which tasks have started, which polls tell streams alone."""
    results: tuple[TaskInstance, ...] = ()
    """What holds the result, once it is there."""
    patience: asyncio.Timeout = field(init=False)
    """Ends the call when its caller's patience ends."""
    asked_for: str | None = None
    """The run that Airflow is asked to make, once it is."""
    doubt: Doubt = field(default_factory=Doubt)
    """Whether it may have made that."""
    has_outcome: bool = False
    """Whether all that is left is to make the answer."""
    is_cut_off: bool = False
    """Whether the gateway ends it, because it is going away."""
    saw_making: bool = False
    """Whether its own trigger was answered with the run."""
    is_first: bool = False
    """Whether it made its run itself. Of a run, one call counts for what runs go through."""

    def __post_init__(self) -> None:
        """Begin to lose patience."""
        self.patience = asyncio.timeout(self.wanted.patience)

    @property
    def stage(self) -> str:
        """Which of `STAGES` the call is in."""
        # By what Airflow has shown: any run id can be asked for.
        if self.run is None:
            return TRIGGERING
        return ANSWERING if self.stopwatch.is_known else WAITING

    @property
    def has_request_id(self) -> bool:
        """Whether its caller has named it, so that the same call finds the same run."""
        return isinstance(self.wanted, Call) and self.wanted.request_id is not None

    @property
    def is_repeatable(self) -> bool:
        """Whether the same call once more would find the run, if there is one by now."""
        return self.has_request_id or not self.doubt.is_open

    def why_end(self) -> str | None:
        """Why the run is to be ended if the call gives up now; `None` to keep it."""
        when = self.patience.when()
        assert when is not None
        # Expired, or so late that gRPC itself has cancelled the call.
        if self.patience.expired() or asyncio.get_running_loop().time() >= when:
            return "the deadline of its call passed" if self.wanted.cancel_on_deadline else None
        return "its caller went away" if self.wanted.cancel_on_disconnect else None

    def cut_off(self) -> None:
        """End it now, because the gateway is going away."""
        # One that has just ended by itself cannot be.
        with suppress(RuntimeError):
            self.patience.reschedule(asyncio.get_running_loop().time())
            self.is_cut_off = True

    @property
    def subject(self) -> Subject:
        """What an error of this call is about, as far as it is known."""
        state = self.run.state if self.run else None
        return Subject(self.wanted.dag_id, self.run_id, state)

    @property
    def has_started(self) -> bool:
        """Whether a task of its run is known to have started."""
        seen = self.follower.look().instances if self.follower else {}
        return any(instance.start_date for instance in seen.values())

    def named_by(self, error: DagInferenceError) -> TaskInstance | None:
        """The task instance that an error of this call names, if it is known."""
        if self.follower is None or error.subject.task_id is None:
            return None
        index = error.subject.map_index
        key = error.subject.task_id, -1 if index is None else index
        return self.follower.look().instances.get(key)

    def timing(self, error: DagInferenceError) -> Timing:
        """Where its time went, now that it ends with an error."""
        if self.follower is None or self.run is None:
            return self.stopwatch.so_far(None, (), None, sees_starts=False)
        seen, culprit = self.follower.look(), self.named_by(error)
        ended_at = (culprit and culprit.end_date) or last_end(self.run, self.results)
        return self.stopwatch.so_far(
            self.run,
            seen.instances.values(),
            ended_at,
            # What ended was seen with all that had started until then.
            sees_starts=self.listener.every_state
            or self.has_looked
            or ended_at is not None
            or self.run.is_final
            or seen.stuck,
        )

    @property
    def took(self) -> timedelta | None:
        """How long the call has taken; `None` if Airflow has shown no run of it."""
        # As for `stage`: a run id alone is no proof.
        return None if self.run is None else timedelta(seconds=self.stopwatch.elapsed)

    @property
    def time_left(self) -> float:
        """Seconds until the answer has to be ready."""
        return self.wanted.patience - self.stopwatch.elapsed
