"""What the event log says was done to a run."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from dag_inference_server.airflow import Event
from dag_inference_server.invocation.interventions import last_mark, standing, stopped_by_fail_fast

START = datetime(2026, 1, 1, tzinfo=UTC)


def events(*lines: tuple[str, str | None]) -> list[Event]:
    """Events a second apart, by name and request."""
    return [
        Event(event=name, when=START + timedelta(seconds=number), extra=extra)
        for number, (name, extra) in enumerate(lines)
    ]


def patch(**body: object) -> tuple[str, str]:
    return "patch_dag_run", json.dumps(body)


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([], None),
        ([patch(state="failed")], "failed"),
        ([patch(state="failed", note="enough")], "failed"),
        ([patch(state="failed"), patch(state="success")], "success"),
        ([patch(state="failed"), patch(note="a note alone")], "failed"),
        ([patch(state="failed"), patch(state="queued")], None),
        ([patch(state="failed"), ("clear_dag_run", "{}")], None),
        ([patch(state="failed"), ("post_clear_task_instances", None)], None),
        ([("clear_dag_run", "{}"), patch(state="failed")], "failed"),
        ([("patch_dag_run", None)], None),
        ([("patch_dag_run", "not JSON")], None),
        ([("patch_dag_run", '["failed"]')], None),
        ([patch(state={"failed": True})], None),
    ],
)
def test_the_mark_that_a_run_stands_under(
    lines: list[tuple[str, str | None]], state: str | None
) -> None:
    """The last one that names a state, unless the run was cleared or queued after it."""
    mark = last_mark(standing(events(*lines)))
    assert (mark.state if mark else None) == state


def test_what_fail_fast_has_stopped() -> None:
    """Task instances by id and map index; -1 where there is none. Not what then ended by itself."""
    lines = [
        Event(event="skip task", when=START, task_id="a", map_index=-1),
        Event(event="fail task", when=START, task_id="b", map_index=3),
        Event(event="skip task", when=START, task_id="c"),
        Event(event="patch_dag_run", when=START, task_id="d"),
        Event(event="fail task", when=START, task_id="e", map_index=0),
        Event(event="failed", when=START, task_id="e", map_index=0),
    ]
    assert stopped_by_fail_fast(lines) == {("a", -1), ("b", 3), ("c", -1)}
