"""A run in flight as the gateway knows it, and those who wait for news of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dag_inference_server.airflow import DagRun, TaskInstance

RunKey = tuple[str, str]
"""DAG id and run id."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of a run at one moment."""

    run: DagRun | None
    """`None` until Airflow has told of it."""
    instances: Mapping[tuple[str, int], TaskInstance]
    """The task instances that Airflow has told of, by task id and map index."""
    edition: int
    """Counts the news."""
    missed: bool = False
    """Whether Airflow seems to have the run no longer."""
    stuck: bool = False
    """Whether the run cannot start, because its DAG is paused."""

    def of_task(self, task_id: str) -> list[TaskInstance]:
        """The known instances of a task, in the order of their map indexes."""
        found = [instance for key, instance in self.instances.items() if key[0] == task_id]
        return sorted(found, key=lambda instance: instance.map_index)


@dataclass(slots=True)
class TrackedRun:
    """One run in flight, however many calls wait for it."""

    key: RunKey
    since: datetime
    """When it was first followed here, by Airflow's clock; it may be older than that."""
    run: DagRun | None = None
    instances: dict[tuple[str, int], TaskInstance] = field(default_factory=dict)
    followers: set[Follower] = field(default_factory=set)
    streams: int = 0
    """How many of them want the states on the way."""
    waiting_for_end: int = 0
    """How many of them no task's end can answer."""
    edition: int = 0
    missed: bool = False
    stuck: bool = False
    made: datetime = field(init=False)
    """When the run was made, by Airflow's clock, as far as is known."""
    read_at: datetime = field(init=False)
    """When it was last read by id in a round, by Airflow's clock."""

    def __post_init__(self) -> None:
        """It was not, yet."""
        self.made = self.read_at = self.since

    @property
    def dag_id(self) -> str:
        """The DAG."""
        return self.key[0]

    @property
    def run_id(self) -> str:
        """The run."""
        return self.key[1]

    @property
    def has_stream(self) -> bool:
        """Whether anybody wants the states on the way."""
        return self.streams > 0

    @property
    def matters_as_a_whole(self) -> bool:
        """Whether anybody waits for the end of the run itself."""
        return self.waiting_for_end > 0

    @property
    def may_be_stuck(self) -> bool:
        """Whether the run has not been seen to start."""
        return (
            self.run is not None
            and self.run.state == "queued"
            and not any(instance.is_final for instance in self.instances.values())
        )

    def learn(self, run: DagRun | None, instances: Iterable[TaskInstance]) -> None:
        """Take in news, and wake the followers if it is any.

        Deltas overlap and arrive in any order between two polls of different kinds:
        what is known of a try is never replaced by what was true before.
        """
        news = False
        if run is not None and not _is_older(run, self.run):
            # One that says the same is not kept beside the one that calls have.
            if run != self.run:
                self.run, news = run, True
            self.made = run.run_after
            self.missed = False
            self.stuck = self.stuck and run.state == "queued"
        for instance in instances:
            known = self.instances.get(instance.key)
            if instance != known and not _is_stale(instance, known):
                self.instances[instance.key] = instance
                news = True
        if news:
            self._wake()

    def replace(
        self, run: DagRun, instances: Sequence[TaskInstance], known: Collection[tuple[str, int]]
    ) -> None:
        """Take in all that there is of a run.

        Args:
            run: The run.
            instances: All of its task instances.
            known: Those that were known before they were read. Of these, the ones that are
                missing are gone: deleted, or expanded.
        """
        gone = set(known) - {instance.key for instance in instances}
        for key in gone & self.instances.keys():
            del self.instances[key]
        self.stuck = False
        self.learn(run, instances)

    def miss(self) -> None:
        """Take in that a listing that should show the run does not."""
        if not self.missed:
            self.missed = True
            self._wake()

    def get_stuck(self) -> None:
        """Take in that the run cannot start, because the DAG is paused."""
        if not self.stuck:
            self.stuck = True
            self._wake()

    def _wake(self) -> None:
        self.edition += 1
        for follower in self.followers:
            follower.wake()

    def snapshot(self) -> Snapshot:
        """What is known now."""
        return Snapshot(self.run, dict(self.instances), self.edition, self.missed, self.stuck)


_ORDER = {"queued": 0, "running": 1}


def _is_older(run: DagRun, known: DagRun | None) -> bool:
    """Whether a read of a run is older than what is known of the same start of it.

    Clearing a run queues it anew, with a new stamp.
    """
    return (
        known is not None
        and run.queued_at == known.queued_at
        and _ORDER.get(run.state, 2) < _ORDER.get(known.state, 2)
    )


def _is_stale(instance: TaskInstance, known: TaskInstance | None) -> bool:
    """Whether a read of a task instance is older than what is known.

    It is of a try before, or of the same try when that had not ended yet.
    """
    if known is None:
        return False
    if instance.id != known.id:
        return instance.try_number < known.try_number
    return known.is_final and not instance.is_final


class Follower:
    """One call's view of a run: wakes when there is news."""

    def __init__(self, tracked: TrackedRun, *, every_state: bool = False) -> None:
        """Follow `tracked`; states on the way are wanted, too, if `every_state`."""
        self.every_state = every_state
        self._tracked = tracked
        self._waits_for_end = False
        self._news: asyncio.Future[None] | None = None
        tracked.followers.add(self)
        tracked.streams += every_state

    def wait_for_end(self) -> None:
        """Have the end of the run looked for as often as those of its tasks."""
        if not self._waits_for_end:
            self._waits_for_end = True
            self._tracked.waiting_for_end += 1

    def wake(self) -> None:
        """There is news."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def news(self, since: Snapshot) -> Snapshot:
        """Wait until there is news since that look, and look."""
        while self._tracked.edition == since.edition:
            # Not an event, whose queue of those who wait is a kilobyte of each call.
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        return self.look()

    def look(self) -> Snapshot:
        """What is known now."""
        return self._tracked.snapshot()

    def replace(
        self, run: DagRun, instances: Sequence[TaskInstance], known: Collection[tuple[str, int]]
    ) -> None:
        """Share a read of all that there is of the run, as `TrackedRun.replace`."""
        self._tracked.replace(run, instances, known)

    def learn(self, run: DagRun | None = None, instances: Iterable[TaskInstance] = ()) -> None:
        """Share what this call has read itself with everybody who follows the run."""
        self._tracked.learn(run, instances)

    def forget(self, instance: TaskInstance) -> None:
        """Drop a task instance that turned out to be no longer what was known of it."""
        if self._tracked.instances.get(instance.key) == instance:
            del self._tracked.instances[instance.key]

    def leave(self) -> None:
        """Follow no more."""
        self._tracked.followers.remove(self)
        self._tracked.streams -= self.every_state
        self._tracked.waiting_for_end -= self._waits_for_end
