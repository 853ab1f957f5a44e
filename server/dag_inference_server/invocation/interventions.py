"""What Airflow's event log says was done to a run that its tasks did not do themselves.

It is gone by its own order: its stamps are by the clocks of many hosts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dag_inference_server.airflow import Event, TaskInstance

_MARK = "patch_dag_run"
_MARK_TASK = "patch_task_instance"
_CLEAR = frozenset({"clear_dag_run", "post_clear_task_instances"})
"""Of many runs at once (`clear_dag_runs`, since 3.3), a line is under no run's id. What has run
again then has reported itself again."""
_FAIL_FAST = frozenset({"skip task", "fail task"})
"""`airflow/models/taskinstance.py`, `_stop_remaining_tasks`."""

KINDS = frozenset({_MARK, _MARK_TASK}) | _CLEAR | _FAIL_FAST
"""The events that count, by Airflow's names."""

ENDS = frozenset({"success", "failed", "skipped", "up_for_retry"})
"""How a task ended by itself, by the state that it came to, as its worker said
(`airflow/api_fastapi/execution_api/routes/task_instances.py`, `ti_update_state`) or the scheduler
of a worker that was lost (`airflow/models/taskinstance.py`, `fetch_handle_failure_context`).

There are as many as a run has tasks, and they count only beside what ends tasks otherwise."""


def has_interventions(events: Sequence[Event]) -> bool:
    """Whether anything has ended tasks that they did not do themselves."""
    return any(event.event in {_MARK, _MARK_TASK} | _FAIL_FAST for event in events)


def standing(events: Sequence[Event]) -> list[Event]:
    """Those since a task of the run was last cleared. Which one, the log does not say."""
    numbers = (number for number, event in enumerate(events, 1) if event.event in _CLEAR)
    return [*events[max(numbers, default=0) :]]


@dataclass(frozen=True, slots=True)
class Mark:
    """Somebody has marked the run `success` or `failed`, and has not queued it since."""

    state: str
    when: datetime
    ends: Mapping[tuple[str, int], str]
    """What the task instances came to by themselves."""

    def ended(self, instance: TaskInstance) -> bool:
        """Whether it was this that ended a task instance, and not that itself."""
        return _ended_at(self.when, self.ends, instance)


def last_mark(events: Sequence[Event]) -> Mark | None:
    """The mark that a run stands under, if it stands under one."""
    marked = None
    for event in events:
        if event.event == _MARK:
            state = _state_in(event.extra)
            if state is not None:
                marked = (state, event.when) if state in {"success", "failed"} else None
    return None if marked is None else Mark(*marked, _ends(events))


def ended_by_hand(events: Sequence[Event], instance: TaskInstance) -> bool:
    """Whether somebody has marked a task instance, or its run, before it ended by itself."""
    mark = last_mark(events)
    if mark is not None and mark.ended(instance):
        return True
    ends = _ends(events)
    return any(
        event.event == _MARK_TASK
        and event.task_id == instance.task_id
        and event.map_index in (None, -1, instance.map_index)
        and _ended_at(event.when, ends, instance)
        for event in events
    )


def stopped_by_fail_fast(events: Sequence[Event]) -> frozenset[tuple[str, int]]:
    """The task instances that ended because another one failed, by task id and map index."""
    last = {_key(event): event.event for event in events if event.event in _FAIL_FAST | ENDS}
    return frozenset(key for key, event in last.items() if event in _FAIL_FAST)


def _ends(events: Sequence[Event]) -> Mapping[tuple[str, int], str]:
    """What task instances came to by themselves in the end."""
    return {_key(event): event.event for event in events if event.event in ENDS}


def _ended_at(when: datetime, ends: Mapping[tuple[str, int], str], instance: TaskInstance) -> bool:
    """Whether a mark of that time ended a task instance."""
    own = ends.get(instance.key)
    if own is not None:
        return own != instance.state
    # It never ended by itself: a mark stamps what it ends by the clock of its own host, in one
    # request (`TaskInstance.set_state`). Or no worker had it, and whoever skipped it before, for
    # another branch, has a clock of its own; the log does not tell of that.
    return instance.end_date is not None and instance.end_date >= when


def _key(event: Event) -> tuple[str, int]:
    return event.task_id or "", -1 if event.map_index is None else event.map_index


def _state_in(request: str | None) -> str | None:
    """The state that a request sets; `None` if it only changes a note."""
    try:
        body = json.loads(request or "null")
    except ValueError:
        return None
    state = body.get("state") if isinstance(body, dict) else None
    return state if isinstance(state, str) else None
