"""Whether a failed task keeps a result from coming, before Airflow has drawn the conclusion.

Never a failure where the result still comes: a task that a failure stops is `upstream_failed`
only if nothing has skipped it before, be it a branch or another task before it, and some rules
take a skipped task for a good one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from dag_inference_server.airflow import Task, TaskInstance
from dag_inference_server.catalog.plan import Plan
from dag_inference_server.watcher import Snapshot

FAILED = frozenset({"failed", "upstream_failed"})

_NEEDS_SUCCESS = "all_success"
"""Of the strict rules, the only one that a skipped task breaks as well as a failed one does."""

_STOPPABLE = FAILED | {"none", "skipped", "removed"}
"""States in which a task has not been let through."""


def critical_failure(
    plan: Plan, snapshot: Snapshot, results: Collection[str]
) -> TaskInstance | None:
    """The failed task instance on the critical path of one of these results, if there is one.

    Args:
        plan: The structure of the DAG.
        snapshot: What is known of the run.
        results: The result tasks that have not come yet.
    """
    failed = {i.task_id: i for i in snapshot.instances.values() if i.state in FAILED}
    if not failed or not results:
        return None
    states: dict[str, set[str]] = defaultdict(set)
    for instance in snapshot.instances.values():
        states[instance.task_id].add(instance.state)
    for task_id, instance in failed.items():
        if not _stopped_by(task_id, plan.tasks, states).isdisjoint(results):
            return instance
    return None


def _stopped_by(
    task_id: str, tasks: Mapping[str, Task], states: Mapping[str, Collection[str]]
) -> set[str]:
    """The tasks that cannot succeed any more because a task has failed.

    Of a mapped task, at least one of its instances.

    Args:
        task_id: The failed task.
        tasks: All tasks of the DAG, by id.
        states: The states of task instances that are known, by task.
    """
    before: dict[str, set[str]] = defaultdict(set)
    for task in tasks.values():
        for downstream in task.downstream_task_ids:
            before[downstream].add(task.task_id)
    stopped: set[str] = set()
    certain = {task_id}
    """Those that certainly are `failed` or `upstream_failed`, and not skipped."""
    ahead = [task_id]
    while ahead:
        stopper = ahead.pop()
        for downstream in tasks[stopper].downstream_task_ids if stopper in tasks else ():
            after, known = tasks.get(downstream), states.get(downstream, ())
            if after is None or downstream in stopped:
                continue
            rule_is_broken = after.trigger_rule == _NEEDS_SUCCESS or (
                stopper in certain and after.is_strict
            )
            if not rule_is_broken or (known and _STOPPABLE.isdisjoint(known)):
                continue
            stopped.add(downstream)
            # With another task before it, that one may have been skipped first.
            if stopper in certain and before[downstream] == {stopper} and "skipped" not in known:
                certain.add(downstream)
            ahead.append(downstream)
    return stopped
