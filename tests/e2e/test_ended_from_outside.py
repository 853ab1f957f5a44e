"""Runs that are ended, deleted or cleared by somebody else, or by themselves, on a real Airflow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dag_inference import (
    Accepted,
    Completed,
    DagInferenceClient,
    Event,
    ResultSkipped,
    RunCancelled,
    RunDeleted,
    RunTimedOut,
    TaskFailed,
    TaskInstanceChanged,
    TaskInstanceState,
)
from e2e.ui import AirflowUi
from e2e.waiting import eventually


def test_a_run_that_times_out(client: DagInferenceClient, ui: AirflowUi) -> None:
    """`dagrun_timeout` skips what is left. That is no branch of the author's: RUN_TIMED_OUT."""
    ui.hold("times_out")
    with pytest.raises(RunTimedOut) as caught:
        client.invoke("times_out", timeout=90)
    assert ui.state("times_out", str(caught.value.run_id), "answer") == "skipped"


def test_a_run_that_fails_fast(client: DagInferenceClient, ui: AirflowUi) -> None:
    """With `fail_fast` the failed task is told, although the result task was only skipped."""
    ui.hold("fails_fast")
    with pytest.raises(TaskFailed) as caught:
        client.invoke("fails_fast", timeout=90)
    assert caught.value.subject.task_id == "fails"
    assert ui.state("fails_fast", str(caught.value.run_id), "answer") == "skipped"


def test_skipped_beside_a_failure(client: DagInferenceClient, ui: AirflowUi) -> None:
    """A result skipped by its author's choice is told at once, whatever else has failed."""
    ui.hold("fails_beside")
    ui.hold("fails_beside_end")

    def open_when_failed(run_id: str) -> None:
        eventually(lambda: ui.state("fails_beside", run_id, "fails") == "failed")
        ui.release("fails_beside")

    with pytest.raises(ResultSkipped) as caught:
        client.call("fails_beside", on_run=open_when_failed, timeout=90)
    assert caught.value.subject.run_state == "running"


@pytest.mark.parametrize("dag_id", ["held", "cleans_up"])
def test_marked_failed(client: DagInferenceClient, ui: AirflowUi, dag_id: str) -> None:
    """A run that is marked failed in the UI is RUN_CANCELLED, with a teardown and without.

    With one, Airflow lets the run go on, and it can end as `success`.
    """
    ui.hold(dag_id)

    def mark(run_id: str) -> None:
        eventually(lambda: ui.state(dag_id, run_id, "answer") == "scheduled")
        ui.mark(dag_id, run_id, "failed")

    with pytest.raises(RunCancelled):
        client.call(dag_id, on_run=mark, timeout=90)


def test_marked_failed_while_it_runs(client: DagInferenceClient, ui: AirflowUi) -> None:
    """A task that ran when its run was marked failed did not fail by itself: RUN_CANCELLED."""

    def mark(run_id: str) -> None:
        eventually(lambda: ui.state("slow", run_id, "sleep") == "running")
        ui.mark("slow", run_id, "failed")

    with pytest.raises(RunCancelled) as caught:
        client.call("slow", {"seconds": 300}, on_run=mark, timeout=90)
    assert ui.state("slow", str(caught.value.run_id), "sleep") == "failed"


def test_marked_success_before_the_result(client: DagInferenceClient, ui: AirflowUi) -> None:
    """A run that is marked success has no result for that: RUN_CANCELLED."""
    ui.hold("held")

    def mark(run_id: str) -> None:
        eventually(lambda: ui.state("held", run_id, "answer") == "scheduled")
        ui.mark("held", run_id, "success")

    with pytest.raises(RunCancelled) as caught:
        client.call("held", on_run=mark, timeout=90)
    assert caught.value.subject.run_state == "success"


@pytest.mark.parametrize(
    "mark",
    [
        lambda ui, *run: ui.mark(*run, "failed"),
        lambda ui, *run: ui.mark(*run, "success"),
        lambda ui, *run: ui.mark_task(*run, "answer", "success"),
    ],
    ids=["failed", "success", "task"],
)
def test_marked_between_two_tries(
    client: DagInferenceClient, ui: AirflowUi, mark: Callable[..., None]
) -> None:
    """What ended a task then was no try of it, although the end of one is all that it has."""

    def when_it_waits(run_id: str) -> None:
        eventually(lambda: ui.state("tries_again", run_id, "answer") == "up_for_retry")
        mark(ui, "tries_again", run_id)

    with pytest.raises(RunCancelled):
        client.call("tries_again", on_run=when_it_waits, timeout=90)


def test_marked_in_an_earlier_life(client: DagInferenceClient, ui: AirflowUi) -> None:
    """A run of the same id that was marked, and deleted, is another one."""
    ui.hold("ends_empty")

    def mark(run_id: str) -> None:
        eventually(lambda: ui.state("ends_empty", run_id, "first") == "scheduled")
        ui.mark("ends_empty", run_id, "success")

    with pytest.raises(RunCancelled) as caught:
        client.call("ends_empty", request_id="twice", on_run=mark, timeout=90)
    ui.delete("ends_empty", str(caught.value.run_id))
    ui.release("ends_empty")

    made = client.call("ends_empty", request_id="twice", timeout=90)
    assert made.run.run_id == caught.value.run_id
    assert made.value == {"return_value": None}


def test_asked_for_again_after_a_mark(client: DagInferenceClient, ui: AirflowUi) -> None:
    """A trigger that finds its run there is no beginning of another one."""

    def mark(run_id: str) -> None:
        eventually(lambda: ui.state("tries_again", run_id, "answer") == "up_for_retry")
        ui.mark_task("tries_again", run_id, "answer", "success")

    with pytest.raises(RunCancelled):
        client.call("tries_again", request_id="again", on_run=mark, timeout=90)
    with pytest.raises(RunCancelled):
        client.call("tries_again", request_id="again", timeout=90)


@pytest.mark.parametrize("state", ["success", "failed"])
def test_marked_after_the_result(client: DagInferenceClient, ui: AirflowUi, state: str) -> None:
    """Whatever a run is marked as, the result that it has given stays its result."""
    made = client.call("goes_on", timeout=90)
    ui.mark("goes_on", made.run.run_id, state)
    assert client.wait("goes_on", made.run.run_id, timeout=90).value == {"try": 1}


def test_while_queued(client: DagInferenceClient, ui: AirflowUi) -> None:
    """A run that waits for another: marked failed it is RUN_CANCELLED, deleted RUN_DELETED."""
    ui.hold("one_at_a_time")

    def mark(run_id: str) -> None:
        assert ui.run("one_at_a_time", run_id)["state"] == "queued"
        ui.mark("one_at_a_time", run_id, "failed")

    def delete(run_id: str) -> None:
        assert ui.run("one_at_a_time", run_id)["state"] == "queued"
        ui.delete("one_at_a_time", run_id)

    def while_it_runs(run_id: str) -> None:
        eventually(lambda: ui.run("one_at_a_time", run_id)["state"] == "running")
        with pytest.raises(RunCancelled):
            client.call("one_at_a_time", on_run=mark, timeout=90)
        with pytest.raises(RunDeleted):
            client.call("one_at_a_time", on_run=delete, timeout=90)
        ui.release("one_at_a_time")

    assert client.call("one_at_a_time", on_run=while_it_runs, timeout=200).value == {"try": 1}


def test_cleared_while_a_call_waits(client: DagInferenceClient, ui: AirflowUi) -> None:
    """A result that is cleared while the call waits for another is given as it is then."""
    ui.hold("goes_on")

    def clear(run_id: str) -> None:
        eventually(lambda: ui.state("goes_on", run_id, "answer") == "success")
        ui.clear("goes_on", run_id, "answer")
        ui.release("goes_on")

    both = client.call("goes_on", result_task_ids=["answer", "other"], on_run=clear, timeout=90)
    assert both.value == {"answer": {"try": 2}, "other": {"try": 1}}


def test_cleared_after_it_was_answered(client: DagInferenceClient, ui: AirflowUi) -> None:
    """A result that is cleared counts no more: `Wait` waits for the new one."""
    ui.release("held")
    run_id = client.call("held", timeout=90).run.run_id
    eventually(lambda: ui.run("held", run_id)["state"] == "success")
    ui.hold("held")
    ui.clear("held", run_id)
    again = client.watch("held", run_id, timeout=90)
    assert isinstance(next(again), Accepted)
    ui.release("held")
    *_, last = again
    assert isinstance(last, Completed)
    assert last.result.value == {"try": 2}


def test_skipped_before_the_failure(client: DagInferenceClient, ui: AirflowUi) -> None:
    """A task that was skipped first does not pass on a failure before it: the result comes."""
    ui.hold("skipped_first_fails")
    ui.hold("skipped_first")
    opens = {
        ("between", TaskInstanceState.SKIPPED): "skipped_first_fails",
        ("fails", TaskInstanceState.FAILED): "skipped_first",
    }
    event: Event | None = None
    for event in client.stream("skipped_first", timeout=90):
        if isinstance(event, TaskInstanceChanged):
            change = event.task_instance.task_id, event.task_instance.state
            if change in opens:
                ui.release(opens.pop(change))
    assert isinstance(event, Completed)
    assert event.result.value == {"try": 1}
