"""Task instances for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dag_inference import TaskInstance


def name_of(task_instance: TaskInstance) -> str:
    """Task, map index and try, the latter two where there is something to say."""
    mapped, tries = task_instance.map_index, task_instance.try_number
    index = "" if mapped is None else f"[{mapped}]"
    again = f" (try {tries})" if tries > 1 else ""
    return f"{task_instance.task_id}{index}{again}"


def age_of(task_instance: TaskInstance) -> timedelta | None:
    """How long this try took, or has taken until now."""
    if task_instance.start_time is None:
        return None
    end = task_instance.end_time or datetime.now(UTC)
    # The worker's clock may be ahead of ours.
    return max(end - task_instance.start_time, timedelta())
