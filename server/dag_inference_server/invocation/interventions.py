"""What Airflow's event log says was done to a run that its tasks did not do themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dag_inference_server.airflow import Event, TaskInstance

_MARK = "patch_dag_run"
_MARK_TASK = "patch_task_instance"
_CLEAR = frozenset({"clear_dag_run", "post_clear_task_instances"})
_FAIL_FAST = frozenset({"skip task", "fail task"})
"""`airflow/models/taskinstance.py`, `_stop_remaining_tasks`."""

KINDS = frozenset({_MARK, _MARK_TASK}) | _CLEAR | _FAIL_FAST
"""The events that count, by Airflow's names."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Somebody has marked the run `success` or `failed`, and has not cleared it since."""

    state: str
    when: datetime

    def ended(self, instance: TaskInstance) -> bool:
        """Whether it was this that ended a task instance, which is skipped or failed."""
        return instance.end_date is not None and instance.end_date >= self.when


def last_mark(events: Sequence[Event]) -> Mark | None:
    """The mark that a run stands under, if it stands under one."""
    mark = None
    for event in events:
        if event.event in _CLEAR:
            mark = None
        elif event.event == _MARK:
            state = _state_in(event.extra)
            if state is not None:
                mark = Mark(state, event.when) if state in {"success", "failed"} else None
    return mark


def ended_by_hand(events: Sequence[Event], instance: TaskInstance) -> bool:
    """Whether somebody has marked a task instance, or its run, before it ended by itself."""
    mark = last_mark(events)
    if mark is not None and mark.ended(instance):
        return True
    return any(
        event.event == _MARK_TASK
        and event.task_id == instance.task_id
        and event.map_index in (None, -1, instance.map_index)
        and instance.end_date is not None
        and instance.end_date >= event.when
        for event in events
    )


def stopped_by_fail_fast(events: Sequence[Event]) -> frozenset[tuple[str, int]]:
    """The task instances that ended because another one failed, by task id and map index."""
    return frozenset(
        (event.task_id, -1 if event.map_index is None else event.map_index)
        for event in events
        if event.event in _FAIL_FAST and event.task_id is not None
    )


def _state_in(request: str | None) -> str | None:
    """The state that a request sets; `None` if it only changes a note."""
    try:
        body = json.loads(request or "null")
    except ValueError:
        return None
    state = body.get("state") if isinstance(body, dict) else None
    return state if isinstance(state, str) else None
