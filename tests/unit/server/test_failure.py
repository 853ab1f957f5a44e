"""What a caller is told whose result will not come."""

from __future__ import annotations

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
from dag_inference_server.airflow import DagRun, TaskInstance
from dag_inference_server.catalog.plan import TEARDOWN_RULE, Plan
from dag_inference_server.invocation.failure import CANCEL_MARK, explain, task_failed

MakeRun = Callable[..., DagRun]
MakeInstance = Callable[..., TaskInstance]


@pytest.fixture
def why(
    make_plan: Callable[..., Plan], make_run: MakeRun, make_instance: MakeInstance
) -> Callable[..., str]:
    """The error for `task=state` pairs, as its class and task; tasks fail in their order.

    `load` and `check` lead to the result `answer`, `side` does not, `clean` is a teardown.
    """

    def why(results: str, states: str, run: str = "failed", note: str | None = None) -> str:
        plan = make_plan(
            *results.split(),
            rules={"clean": TEARDOWN_RULE},
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
        error = explain(plan, made, instances[::-1])
        if error is None:
            return "nothing"
        about = error.subject
        assert (about.dag_id, about.run_id, about.run_state) == ("d", "r", run)
        return " ".join(filter(None, [type(error).__name__, about.task_id]))

    return why


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
        ("failed", f"{CANCEL_MARK}cancelled", "RunCancelled"),
        ("failed", None, "RunTimedOut"),
        ("failed", "", "RunTimedOut"),
        ("failed", f"not ours: {CANCEL_MARK}", "RunTimedOut"),
        ("success", f"{CANCEL_MARK}cancelled", "RunCancelled"),
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
