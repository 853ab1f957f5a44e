"""What a caller is told whose result will not come."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from dag_inference.errors import (
    ResultSkipped,
    RunCancelled,
    RunTimedOut,
    Subject,
    TaskFailed,
)
from dag_inference_server.airflow import DagRun, Event, TaskInstance
from dag_inference_server.catalog.plan import Plan
from dag_inference_server.catalog.trigger_rules import TEARDOWN
from dag_inference_server.ending.notes import cancelled, limited, timed_out
from dag_inference_server.invocation.failure import explain, task_failed

MakeRun = Callable[..., DagRun]
MakeInstance = Callable[..., TaskInstance]


@pytest.fixture
def why(
    make_plan: Callable[..., Plan], make_run: MakeRun, make_instance: MakeInstance
) -> Callable[..., str]:
    """The error for `task=state` pairs, as its class and task; tasks fail in their order.

    `events` are read from the event log: `failed@1` for a mark just before the second task
    ended, `skip@side` for a task that `fail_fast` stopped; without, it may not be read.

    `load` and `check` lead to the result `answer`, `side` does not, `clean` is a teardown.
    """

    def why(
        results: str,
        states: str,
        run: str = "failed",
        note: str | None = None,
        events: str | None = None,
    ) -> str:
        plan = make_plan(
            *results.split(),
            rules={"clean": TEARDOWN},
            mapped=("load",),
            load="check",
            check="answer other",
            answer="clean",
            other="clean",
            side="",
            clean="",
        )
        made = make_run(state=run, note=note)
        pairs = [pair.split("=") for pair in states.split()]
        instances = [
            make_instance(
                name, state, end_date=made.run_after + timedelta(seconds=number), try_number=2
            )
            for number, (name, state) in enumerate(pairs)
        ]
        log = None if events is None else [_event(made, line) for line in events.split()]
        error = explain(plan, made, instances[::-1], log)
        if error is None:
            return "nothing"
        about = error.subject
        assert (about.dag_id, about.run_id, about.run_state) == ("d", "r", run)
        return " ".join(filter(None, [type(error).__name__, about.task_id]))

    return why


def _event(run: DagRun, line: str) -> Event:
    what, _, of = line.partition("@")
    if what in ("skip", "fail"):
        return Event(event=f"{what} task", when=run.run_after, task_id=of, map_index=-1)
    when = run.run_after + timedelta(seconds=int(of) - 0.5)
    return Event(event="patch_dag_run", when=when, extra=json.dumps({"state": what}))


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("answer=failed", "TaskFailed answer"),
        ("check=failed answer=upstream_failed", "TaskFailed check"),
        ("load[3]=failed check=upstream_failed answer=upstream_failed", "TaskFailed load"),
        ("load[0]=failed check=failed answer=upstream_failed", "TaskFailed load"),
        ("side=failed check=failed answer=upstream_failed", "TaskFailed check"),
        ("check=failed side=failed answer=upstream_failed", "TaskFailed check"),
        ("clean=failed answer=failed", "TaskFailed answer"),
        ("answer=upstream_failed", "TaskFailed answer"),
        ("answer=removed", "TaskFailed answer"),
    ],
)
def test_the_first_failed_task_that_the_result_depends_on_is_named(
    why: Callable[..., str], states: str, expected: str
) -> None:
    """Not the one that was never run because of it, nor one beside it."""
    assert why("answer", states) == expected


@pytest.mark.parametrize(
    ("states", "run", "expected"),
    [
        ("side=failed answer=skipped", "failed", "TaskFailed side"),
        ("side=failed answer=skipped", "success", "ResultSkipped answer"),
        ("clean=failed answer=skipped", "failed", "RunTimedOut"),
        ("clean=failed answer=skipped", "success", "ResultSkipped answer"),
    ],
)
def test_a_failure_elsewhere_counts_if_it_ended_the_run(
    why: Callable[..., str], states: str, run: str, expected: str
) -> None:
    """With `fail_fast` a task's failure skips the others; a teardown's never does."""
    assert why("answer", states, run) == expected


@pytest.mark.parametrize(
    ("results", "states", "expected"),
    [
        ("answer", "answer=skipped", "ResultSkipped answer"),
        ("answer", "check=skipped answer=skipped", "ResultSkipped answer"),
        ("answer other", "answer=skipped other=skipped", "ResultSkipped other"),
        ("answer other", "answer=skipped other=success", "nothing"),
        ("answer", "answer=success", "nothing"),
        ("answer", "", "nothing"),
        ("", "answer=skipped", "nothing"),
        ("", "clean=failed", "nothing"),
        ("", "side=failed", "TaskFailed side"),
        ("", "side=failed check=failed", "TaskFailed side"),
    ],
)
def test_a_run_that_succeeded_may_still_have_no_result(
    why: Callable[..., str], results: str, states: str, expected: str
) -> None:
    """A branch around every result is told; without known results, any failed task is."""
    assert why(results, states, "success") == expected


@pytest.mark.parametrize("results", ["answer", ""])
@pytest.mark.parametrize(
    ("run", "note", "expected"),
    [
        ("failed", cancelled("by request"), "RunCancelled"),
        ("failed", timed_out(timedelta(seconds=5)), "RunTimedOut"),
        ("failed", limited(timedelta(seconds=5)), "RunTimedOut"),
        ("failed", None, "RunTimedOut"),
        ("failed", "", "RunTimedOut"),
        ("failed", f"not ours: {cancelled('by request')}", "RunTimedOut"),
        ("success", cancelled("by request"), "RunCancelled"),
    ],
)
def test_a_run_ended_from_outside_is_told_by_its_note(
    why: Callable[..., str], results: str, run: str, note: str | None, expected: str
) -> None:
    """Our mark means cancelled, also where a teardown then made the run a success."""
    assert why(results, "check=skipped answer=skipped clean=success", run, note) == expected


@pytest.mark.parametrize(
    ("name", "state", "says"),
    [
        ("a", "failed", "task a failed on try 2"),
        ("a[0]", "failed", "task a [0] failed on try 2"),
        ("a", "upstream_failed", "task a was not run, because a task before it failed"),
        ("a[4]", "removed", "task a [4] is no longer part of the DAG"),
    ],
)
def test_a_failed_task_is_described(
    make_run: MakeRun, make_instance: MakeInstance, name: str, state: str, says: str
) -> None:
    """With its map index and try, also as the fields of the error."""
    instance = make_instance(name, state, try_number=2)

    error = task_failed(make_run("running"), instance)

    assert error.message == says
    assert error.subject == Subject(
        dag_id="d",
        run_id="r",
        run_state="running",
        task_id="a",
        map_index=instance.map_index if "[" in name else None,
        try_number=2,
    )


def test_the_kinds_of_failure_are_told_apart() -> None:
    """Each has a class of its own to catch, and none is another's."""
    kinds = (TaskFailed, ResultSkipped, RunCancelled, RunTimedOut)

    assert [sum(issubclass(kind, other) for other in kinds) for kind in kinds] == [1] * 4


@pytest.mark.parametrize(
    ("results", "states", "events", "run", "expected"),
    [
        # Marked: what ended then did not end by itself.
        ("answer", "answer=skipped", "failed@0", "failed", "RunCancelled"),
        ("answer", "check=failed answer=skipped", "failed@0", "failed", "RunCancelled"),
        ("answer", "answer=skipped clean=success", "failed@0", "success", "RunCancelled"),
        ("answer", "answer=skipped", "success@0", "success", "RunCancelled"),
        ("", "check=failed", "failed@0", "failed", "RunCancelled"),
        # Marked after what mattered had ended, or what was ended did not matter.
        ("answer", "check=failed answer=skipped", "failed@1", "failed", "TaskFailed check"),
        ("answer", "answer=skipped side=skipped", "failed@1", "success", "ResultSkipped answer"),
        ("", "check=failed side=skipped", "failed@1", "failed", "TaskFailed check"),
        # `fail_fast` is known by what it has stopped, also before the run has ended.
        ("answer", "side=failed answer=skipped", "skip@answer", "running", "TaskFailed side"),
        ("answer", "side=failed answer=failed", "fail@answer", "running", "TaskFailed side"),
        ("answer", "side=failed answer=skipped", "", "running", "ResultSkipped answer"),
        ("answer", "side=failed answer=skipped", "", "failed", "ResultSkipped answer"),
    ],
)
def test_the_event_log_tells_what_the_states_do_not(  # noqa: PLR0917 - pytest passes by name
    why: Callable[..., str], results: str, states: str, events: str, run: str, expected: str
) -> None:
    """Who ended a task: it itself, another one's failure, or somebody who marked the run."""
    assert why(results, states, run, events=events) == expected
