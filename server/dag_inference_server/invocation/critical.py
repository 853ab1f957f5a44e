"""Whether a failed task keeps a result from coming, before Airflow has drawn the conclusion.

Never a failure where the result still comes: a task that a failure stops may have been skipped
before, or may be yet, by a branch or another task before it; and some rules take a skipped task
for a good one. Airflow lets a branch skip even what is `upstream_failed` already
(`airflow/api_fastapi/execution_api/routes/task_instances.py`, `ti_skip_downstream`, 3.3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dag_inference_server.airflow import Task, TaskInstance
from dag_inference_server.catalog.plan import Plan
from dag_inference_server.catalog.trigger_rules import is_strict, needs_success
from dag_inference_server.watcher import Snapshot

FAILED = frozenset({"failed", "upstream_failed"})

_STOPPABLE = FAILED | {"none", "skipped", "removed"}
"""States in which a task has not been let through."""

_SETTLED = FAILED | {"success", "removed"}
"""States in which a task skips nothing any more, and has not been skipped."""


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
    causes = _Spread(plan.tasks, states).from_failed(failed)
    cause = next((causes[result] for result in results if result in causes), None)
    return failed[cause] if cause is not None else None


@dataclass(slots=True)
class _Spread:
    """How far failures reach through a graph."""

    tasks: Mapping[str, Task]
    states: Mapping[str, set[str]]
    """The states of task instances that are known, by task."""
    before: Mapping[str, set[str]] = field(init=False)
    """The tasks just before each task."""
    certain: set[str] = field(default_factory=set)
    """Tasks that are or will be `failed` or `upstream_failed` for good, and never skipped. Of a
    mapped task, at least one of its instances."""

    def __post_init__(self) -> None:
        """Turn the arrows round."""
        before: dict[str, set[str]] = defaultdict(set)
        for task in self.tasks.values():
            for downstream in task.downstream_task_ids:
                before[downstream].add(task.task_id)
        self.before = before

    def from_failed(self, failed: Collection[str]) -> dict[str, str]:
        """The tasks that cannot succeed any more, each with the failed task that stops it.

        Of a mapped task, at least one of its instances.
        """
        self.certain |= {task_id for task_id in failed if "failed" in self.states[task_id]}
        self.certain |= {task_id for task_id in failed if self._is_settled(task_id)}
        stopped_by: dict[str, str] = {}
        ahead = [(task_id, task_id) for task_id in failed]
        while ahead:
            stopper, cause = ahead.pop()
            for after in self._stopped_by(stopper):
                if after not in stopped_by:
                    stopped_by[after] = cause
                    if stopper in self.certain and self._is_settled(after):
                        self.certain.add(after)
                    ahead.append((after, cause))
        return stopped_by

    def _stopped_by(self, stopper: str) -> list[str]:
        """The tasks just after a task that cannot succeed because it has not."""
        downstream = self.tasks[stopper].downstream_task_ids if stopper in self.tasks else ()
        return [
            task_id
            for task_id in downstream
            if (task := self.tasks.get(task_id)) is not None
            and (needs_success(task) or (is_strict(task) and stopper in self.certain))
            and not self._was_let_through(task_id)
        ]

    def _was_let_through(self, task_id: str) -> bool:
        """Whether all that is known of a task began before the failure, which was cleared then."""
        known = self.states.get(task_id, set())
        return bool(known) and known.isdisjoint(_STOPPABLE)

    def _is_settled(self, task_id: str) -> bool:
        """Whether nothing can skip a task any more, and nothing has."""
        seen, ahead = {task_id}, [task_id]
        while ahead:
            one = ahead.pop()
            known = self.states.get(one, set())
            if "skipped" in known:
                return False
            if one != task_id and one not in self.certain and not (known and known <= _SETTLED):
                return False
            new = self.before[one] - seen if one in self.before else set()
            seen |= new
            ahead += new
        return True
