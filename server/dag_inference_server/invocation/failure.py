"""What to tell a caller whose result will not come."""

from __future__ import annotations

from collections.abc import Sequence

from dag_inference.errors import (
    DagInferenceError,
    ResultSkipped,
    RunCancelled,
    RunTimedOut,
    Subject,
    TaskFailed,
)
from dag_inference_server.airflow import DagRun, Event, TaskInstance
from dag_inference_server.catalog.plan import Plan
from dag_inference_server.ending.notes import EndedBy, ended_by
from dag_inference_server.invocation.interventions import (
    Mark,
    last_mark,
    stopped_by_fail_fast,
)


def explain(
    plan: Plan,
    run: DagRun,
    instances: Sequence[TaskInstance],
    events: Sequence[Event] | None = None,
) -> DagInferenceError | None:
    """Say why a run has no result.

    Args:
        plan: The result tasks.
        run: The run as it is now.
        instances: All of its task instances as they are now.
        events: What the event log holds of it; `None` if it may not be read.

    Returns:
        The error, or `None` if nothing went wrong with what the result depends on.
    """
    subject = Subject(run.dag_id, run.run_id, run.state)
    # First, because Airflow marks the tasks that a cancel ends `failed`, and because a run
    # that was cancelled can still end as `success` by its teardown.
    mark = last_mark(events or ())
    # A note outlives a clearing, after which the run goes on as if nothing had been.
    ender = ended_by(run.note) if events is None or mark is not None else None
    if ender is EndedBy.CANCEL:
        return RunCancelled("the run was cancelled through the gateway", subject=subject)
    if ender is EndedBy.RUN_TIMEOUT:
        return RunTimedOut("the run took longer than its run_timeout", subject=subject)
    culprit = _culprit(plan, run, instances, events)
    if mark is not None and _was_ended_by(mark, plan, instances, culprit):
        return RunCancelled(f"somebody marked the run {mark.state} in Airflow", subject=subject)
    if culprit is not None:
        return task_failed(run, culprit)
    skipped = _skipped(plan, run, instances)
    if run.state == "failed" and (skipped is None or not _has_failure(plan, instances, events)):
        teardown = next((i for i in instances if i.state == "failed"), None)
        if teardown is not None and not plan.task_ids:
            return task_failed(run, teardown)
        return RunTimedOut(
            "the run was ended without a failed task: by its own timeout, or by hand",
            subject=subject,
        )
    return skipped


def _skipped(plan: Plan, run: DagRun, instances: Sequence[TaskInstance]) -> ResultSkipped | None:
    """The error if every result task was skipped, other than by the run's own timeout."""
    results = [instance for instance in instances if instance.task_id in plan.task_ids]
    if not results or any(instance.state != "skipped" for instance in results):
        return None
    # Of what ends tasks, only `dagrun_timeout` and a map without elements give them no end
    # (`airflow/jobs/scheduler_job_runner.py`, `_schedule_dag_run`).
    cut_off = any(i.end_date is None and not plan.is_mapped(i.task_id) for i in results)
    if cut_off and run.state == "failed":
        return None
    named = ", ".join(plan.task_ids)
    return ResultSkipped(
        f"the run took a branch on which {named} is skipped",
        subject=_subject(run, results[0]),
    )


def task_failed(run: DagRun, instance: TaskInstance) -> TaskFailed:
    """The error of a task that failed for good."""
    what = {
        "removed": "is no longer part of the DAG",
        "upstream_failed": "was not run, because a task before it failed",
    }.get(instance.state, f"failed on try {instance.try_number}")
    index = f" [{instance.map_index}]" if instance.map_index >= 0 else ""
    return TaskFailed(f"task {instance.task_id}{index} {what}", subject=_subject(run, instance))


def _culprit(
    plan: Plan,
    run: DagRun,
    instances: Sequence[TaskInstance],
    events: Sequence[Event] | None,
) -> TaskInstance | None:
    """The failed task that a caller should look at first.

    With known result tasks, one that they depend on. Otherwise any task may be what the
    result depends on, and only teardowns are known not to be.
    """
    stopped = stopped_by_fail_fast(events or ())
    failed = sorted(
        (i for i in _failures(plan, instances) if i.key not in stopped),
        key=lambda instance: (instance.end_date is None, instance.end_date),
    )
    if not plan.task_ids:
        return failed[0] if failed else None
    for instance in failed:
        if any(_bears_on(plan, instance.task_id, result) for result in plan.task_ids):
            return instance
    # With `fail_fast` one task's failure ends all others.
    fails_fast = (
        run.state == "failed"
        if events is None
        else any(task_id in plan.task_ids for task_id, _ in stopped)
    )
    if failed and fails_fast:
        return failed[0]
    blocked = (i for i in instances if i.task_id in plan.task_ids)
    return next((i for i in blocked if i.state in ("upstream_failed", "removed")), None)


def _was_ended_by(
    mark: Mark, plan: Plan, instances: Sequence[TaskInstance], culprit: TaskInstance | None
) -> bool:
    """Whether a mark ended what the result depends on, before that could fail by itself."""
    if culprit is not None and not mark.ended(culprit):
        return False
    return any(
        mark.ended(instance)
        and instance.state in ("skipped", "failed")
        and not plan.is_teardown(instance.task_id)
        and (
            not plan.task_ids
            or any(_bears_on(plan, instance.task_id, result) for result in plan.task_ids)
        )
        for instance in instances
    )


def _has_failure(
    plan: Plan, instances: Sequence[TaskInstance], events: Sequence[Event] | None
) -> bool:
    """Whether a failed task, and not a timeout, made the run fail."""
    return events is not None and bool(_failures(plan, instances))


def _failures(plan: Plan, instances: Sequence[TaskInstance]) -> list[TaskInstance]:
    return [i for i in instances if i.state == "failed" and not plan.is_teardown(i.task_id)]


def _bears_on(plan: Plan, task_id: str, result_id: str) -> bool:
    return task_id == result_id or plan.leads_to(task_id, result_id)


def _subject(run: DagRun, instance: TaskInstance) -> Subject:
    return Subject(
        dag_id=run.dag_id,
        run_id=run.run_id,
        run_state=run.state,
        task_id=instance.task_id,
        map_index=instance.map_index if instance.map_index >= 0 else None,
        try_number=instance.try_number,
    )
