"""All runs in flight."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from dag_inference_server.airflow import Changes, DagRun, TaskInstance
from dag_inference_server.watcher.tracked import RunKey, TrackedRun

_YOUNG = timedelta(hours=1)
"""A listing over all DAGs goes through every run since the oldest one that it is for: with
600,000 task instances of history, 0.9 ms of the database for ten minutes, 12 for a day and 309 for
a month. By id, a thousand runs take many listings, and their news is seconds old: few should be."""


class TrackedRuns:
    """The runs that calls follow, by DAG and run id."""

    def __init__(self) -> None:
        """Know none."""
        self._runs: dict[RunKey, TrackedRun] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._runs)

    def __iter__(self) -> Iterator[TrackedRun]:
        """All of them, as of now."""
        return iter(list(self._runs.values()))

    def track(self, key: RunKey, now: datetime) -> TrackedRun:
        """The run of that id, which is a new one if nobody followed it before."""
        tracked = self._runs.get(key)
        if tracked is None:
            tracked = self._runs[key] = TrackedRun(key, now)
        return tracked

    def drop_if_left(self, tracked: TrackedRun) -> None:
        """Forget a run that nobody follows any more."""
        if not tracked.followers and self._runs.get(tracked.key) is tracked:
            del self._runs[tracked.key]

    def young(self, now: datetime) -> list[TrackedRun]:
        """Those that share one poll."""
        return [run for run in self._runs.values() if now - run.made <= _YOUNG]

    def old(self, now: datetime) -> list[TrackedRun]:
        """Those that are read by id."""
        return [run for run in self._runs.values() if now - run.made > _YOUNG]

    def tell(self, changes: Changes) -> None:
        """Hand news to the runs that it is about; the rest is other gateways'."""
        news: dict[RunKey, tuple[list[DagRun], list[TaskInstance]]] = {}
        for run in changes.runs:
            news.setdefault((run.dag_id, run.run_id), ([], []))[0].append(run)
        for instance in changes.instances:
            news.setdefault((instance.dag_id, instance.run_id), ([], []))[1].append(instance)
        for key, (runs, instances) in news.items():
            if tracked := self._runs.get(key):
                tracked.learn(runs[-1] if runs else None, instances)
