"""Which tasks give a run's result, and how that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dag_inference_server.airflow import Task
from dag_inference_server.catalog.trigger_rules import TEARDOWN, is_strict


class ResultRule(StrEnum):
    """How the result tasks were found: the first that applies."""

    REQUEST = "request"
    TAG = "tag"
    SETTING = "setting"
    DECLARED = "declared"
    LEAF = "leaf"
    NONE = "none"
    RUN_END = "run_end"


_NAMED = frozenset({ResultRule.REQUEST, ResultRule.TAG, ResultRule.SETTING})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to wait for."""

    rule: ResultRule
    task_ids: tuple[str, ...]
    """The result tasks. Empty for `NONE` and `RUN_END`, which wait for the run's end."""
    tasks: Mapping[str, Task]
    """The tasks of the DAG's version."""
    version: int
    """The DAG's version; 0 if Airflow does not tell."""
    is_outdated: bool = False
    """Whether the structure of that version is not known, because a newer one took its place."""

    @property
    def is_named(self) -> bool:
        """Whether its result tasks are named by somebody, and not by the DAG's structure."""
        return self.rule in _NAMED

    def for_version(self, version: int) -> Plan:
        """The plan for a run of a version that may be another one.

        Named result tasks stay, and only their own states decide; what the structure of
        this version says of the result does not hold for that one, and such a run is
        waited for to its end.
        """
        if version == self.version:
            return self
        if self.is_named:
            return self.without_structure(version)
        return Plan(ResultRule.RUN_END, (), {}, version, is_outdated=True)

    def without_structure(self, version: int) -> Plan:
        """The plan for a run that has gone on with another version: the results stay."""
        return Plan(self.rule, self.task_ids, {}, version, is_outdated=True)

    def is_teardown(self, task_id: str) -> bool:
        """Whether a task only cleans up, so that its failure spoils nothing."""
        task = self.tasks.get(task_id)
        return task is not None and task.trigger_rule == TEARDOWN

    def is_mapped(self, task_id: str) -> bool:
        """Whether a task has an instance for each map index."""
        task = self.tasks.get(task_id)
        return task is not None and task.is_mapped

    def leads_to(self, task_id: str, result_id: str) -> bool:
        """Whether a task comes before a result task."""
        seen: set[str] = set()
        ahead = [task_id]
        while ahead:
            task = self.tasks.get(ahead.pop())
            for downstream in task.downstream_task_ids if task else ():
                if downstream == result_id:
                    return True
                if downstream not in seen:
                    seen.add(downstream)
                    ahead.append(downstream)
        return False


def by_structure(tasks: Mapping[str, Task], declared: frozenset[str] | None, version: int) -> Plan:
    """The plan that the DAG itself makes: its declaration, else its only leaf.

    Args:
        tasks: The DAG's tasks by id.
        declared: What its file declares; `None` if that is not known.
        version: The DAG's version.
    """
    if declared is None:
        return Plan(ResultRule.RUN_END, (), tasks, version)
    if declared:
        return Plan(ResultRule.DECLARED, tuple(sorted(declared)), tasks, version)
    leaves = [task for task in tasks.values() if _is_leaf(task, tasks)]
    if len(leaves) == 1 and is_strict(leaves[0]):
        return Plan(ResultRule.LEAF, (leaves[0].task_id,), tasks, version)
    return Plan(ResultRule.NONE, (), tasks, version)


def _is_leaf(task: Task, tasks: Mapping[str, Task]) -> bool:
    if task.trigger_rule == TEARDOWN:
        return False
    return all(
        downstream in tasks and tasks[downstream].trigger_rule == TEARDOWN
        for downstream in task.downstream_task_ids
    )
