"""Runs that the gateway ends, on a real Airflow."""

from __future__ import annotations

import os
import signal
from contextlib import closing

import pytest

from dag_inference import (
    DagInferenceClient,
    DeadlineExceeded,
    RunCancelled,
    RunState,
    RunTimedOut,
)
from e2e.harness import Standalone, serving, serving_process
from e2e.ui import AirflowUi
from e2e.waiting import eventually


def test_a_run_that_is_cancelled(client: DagInferenceClient, ui: AirflowUi) -> None:
    """A task that runs is failed, who waits gets RUN_CANCELLED, and the note says why."""

    def cancel(run_id: str) -> None:
        eventually(lambda: ui.state("slow", run_id, "sleep") == "running")
        assert client.cancel("slow", run_id, comment="enough").state is RunState.FAILED

    with pytest.raises(RunCancelled) as caught:
        client.call("slow", {"seconds": 300}, on_run=cancel, timeout=90)
    run = ui.run("slow", str(caught.value.run_id))
    assert run["state"] == "failed"
    assert run["note"] == "dag-inference: cancelled by request: enough"


def test_a_teardown_still_runs(client: DagInferenceClient, ui: AirflowUi) -> None:
    """The run goes on for it and ends as `success`, which does not make it a success."""
    ui.hold("cleans_up")

    def cancel(run_id: str) -> None:
        eventually(lambda: ui.state("cleans_up", run_id, "answer") == "scheduled")
        client.cancel("cleans_up", run_id)

    with pytest.raises(RunCancelled) as caught:
        client.call("cleans_up", on_run=cancel, timeout=90)
    run_id = str(caught.value.run_id)
    eventually(lambda: ui.run("cleans_up", run_id)["state"] == "success")
    assert ui.state("cleans_up", run_id, "clean_up") == "success"
    with pytest.raises(RunCancelled):
        client.wait("cleans_up", run_id, timeout=30)


def test_a_run_that_has_ended(client: DagInferenceClient, ui: AirflowUi) -> None:
    """Cancelling it changes nothing, and its result stays."""
    ui.release("held")
    run_id = client.call("held", timeout=90).run.run_id
    eventually(lambda: ui.run("held", run_id)["state"] == "success")

    assert client.cancel("held", run_id).state is RunState.SUCCESS

    assert ui.run("held", run_id)["note"] is None
    assert client.wait("held", run_id, timeout=30).value == {"try": 1}


def test_a_cancelled_run_that_is_cleared(client: DagInferenceClient, ui: AirflowUi) -> None:
    """It runs once more, and the note of its first start does not speak of the second."""
    ui.hold("held")

    def cancel(run_id: str) -> None:
        # From here on it has had a try.
        eventually(lambda: ui.state("held", run_id, "answer") == "scheduled")
        client.cancel("held", run_id)

    with pytest.raises(RunCancelled) as caught:
        client.call("held", on_run=cancel, timeout=90)
    run_id = str(caught.value.run_id)
    ui.clear("held", run_id)
    ui.release("held")
    assert client.wait("held", run_id, timeout=90).value == {"try": 2}


def test_a_caller_that_goes_away(client: DagInferenceClient, ui: AirflowUi) -> None:
    """With `on_disconnect` the run is ended."""
    ui.hold("held")
    with closing(client.stream("held", on_disconnect="cancel", timeout=90)) as events:
        run_id = next(events).run.run_id  # type: ignore[union-attr]
    eventually(lambda: ui.run("held", run_id)["state"] == "failed")
    assert ui.state("held", run_id, "answer") == "skipped"


def test_a_deadline_that_passes(client: DagInferenceClient, ui: AirflowUi) -> None:
    """With `on_deadline` the run is ended, and the error still names it."""
    ui.hold("held")
    with pytest.raises(DeadlineExceeded) as caught:
        client.call("held", on_deadline="cancel", timeout=5)
    run_id = str(caught.value.run_id)
    eventually(lambda: ui.run("held", run_id)["state"] == "failed")


def test_run_timeout(client: DagInferenceClient, ui: AirflowUi) -> None:
    """A run that outlives it is ended, and who waits gets RUN_TIMED_OUT."""
    ui.hold("held")
    with pytest.raises(RunTimedOut) as caught:
        client.call("held", run_timeout=3, timeout=90)
    run = ui.run("held", str(caught.value.run_id))
    assert run["note"] == "dag-inference: ended by its run_timeout of 3 s"


def test_run_timeout_after_the_gateway_was_killed(standalone: Standalone, ui: AirflowUi) -> None:
    """The next gateway with the same prefix ends the run, though nobody waits for it."""
    ui.hold("held")
    environment = {**standalone.account(), "DAG_INFERENCE_RUN_ID_PREFIX": "killed"}
    with serving_process(environment) as (target, process), DagInferenceClient(target) as client:
        events = client.stream("held", run_timeout=5, timeout=90)
        run_id = next(events).run.run_id  # type: ignore[union-attr]
        os.kill(process.pid, signal.SIGKILL)
    assert ui.run("held", run_id)["state"] != "failed"
    with serving(environment):
        eventually(lambda: ui.run("held", run_id)["state"] == "failed")
    assert ui.run("held", run_id)["note"] == "dag-inference: ended by its run_timeout of 5 s"
