"""Whether a run has its result, has lost it, or may still get it: a pure function."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from dag_inference_server.airflow import TaskInstance
from dag_inference_server.catalog.plan import Plan
from dag_inference_server.invocation.critical import FAILED, critical_failure
from dag_inference_server.watcher import Snapshot


@dataclass(frozen=True, slots=True)
class Pending:
    """It may still get it."""


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A mapped result task has begun to succeed, and how many instances it has is not known."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Every result task has succeeded, or was skipped while another succeeded."""

    instances: tuple[TaskInstance, ...]
    """Those that hold the values, in the order of the result tasks and their map indexes."""
    empty: tuple[str, ...] = ()
    """The mapped result tasks that had nothing to map over."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The result cannot come any more."""

    instance: TaskInstance
    """What shows it: an instance of a result task, or of one on the critical path of one."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The run has ended, and the result tasks do not decide.

    Nobody knows them, there are none, or the end came before them.
    """


Verdict = Pending | Unlisted | Ready | Lost | Ended

_PENDING = Pending()
_IMPOSSIBLE = FAILED | {"removed"}


def decide(plan: Plan, snapshot: Snapshot, listed: Collection[str]) -> Verdict:
    """Judge a run by what is known of it.

    Args:
        plan: The result tasks.
        snapshot: What is known.
        listed: The mapped result tasks of which every instance is known.
    """
    ended = snapshot.run is not None and snapshot.run.is_final
    otherwise = Ended() if ended else _PENDING
    if not plan.task_ids:
        return otherwise
    by_task = {task_id: _instances(plan, snapshot, task_id) for task_id in plan.task_ids}
    empty = tuple(t for t, found in by_task.items() if _is_empty_map(plan, snapshot, found))
    known = [instance for instances in by_task.values() for instance in instances]
    # One that is lost decides, whatever the others still do.
    for instance in known:
        if instance.state in _IMPOSSIBLE:
            return Lost(instance)
    open_results = [task_id for task_id, found in by_task.items() if not _all_final(found)]
    if critical := critical_failure(plan, snapshot, open_results):
        return Lost(critical)
    if open_results:
        return otherwise
    for task_id, instances in by_task.items():
        if is_mapped(plan, task_id, instances) and task_id not in (*listed, *empty):
            return Unlisted(task_id)
    found = [instance for instance in known if instance.state == "success"]
    return Ready(tuple(found), empty) if found or empty else Lost(known[0])


def _is_empty_map(plan: Plan, snapshot: Snapshot, instances: Sequence[TaskInstance]) -> bool:
    """Whether a mapped task had nothing to map over.

    It is skipped then, as one that a branch leads around, but without an end
    (`airflow/models/taskmap.py`, `expand_mapped_task`, 3.3). A run's own timeout does the
    same to all that waits, and fails the run with it.
    """
    if snapshot.run is not None and snapshot.run.state == "failed":
        return False
    return [(i.map_index, i.state, i.end_date) for i in instances if plan.is_mapped(i.task_id)] == [
        (-1, "skipped", None)
    ]


def _all_final(instances: Collection[TaskInstance]) -> bool:
    return bool(instances) and all(instance.is_final for instance in instances)


def _instances(plan: Plan, snapshot: Snapshot, task_id: str) -> list[TaskInstance]:
    instances = snapshot.of_task(task_id)
    return _without_surplus(instances) if is_mapped(plan, task_id, instances) else instances


def is_mapped(plan: Plan, task_id: str, instances: Iterable[TaskInstance]) -> bool:
    """Whether a task has an instance for each map index.

    A task in a mapped group does, too, and Airflow's API does not say so of the task.
    """
    return plan.is_mapped(task_id) or any(instance.map_index >= 0 for instance in instances)


def _without_surplus(instances: list[TaskInstance]) -> list[TaskInstance]:
    """The instances of a mapped task as it is expanded now.

    Expanding replaces the instance with index -1; expanding anew to fewer leaves
    some that are `removed`, which is no failure.
    """
    expanded = [i for i in instances if i.map_index >= 0 and i.state != "removed"]
    return expanded or instances
