"""What the gateway promises holds with the Airflows before 3.3, too."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from dag_inference import (
    Accepted,
    Completed,
    DagAvailability,
    DagInferenceClient,
    ResultKind,
    ResultRule,
    RunCancelled,
    RunChanged,
    RunDeleted,
    RunState,
    TaskFailed,
    TaskInstanceChanged,
    TaskInstanceState,
)
from e2e.harness import BIN
from e2e.waiting import eventually
from versions.released import ReleasedAirflow

CALLERS = 6


def test_check(airflow: ReleasedAirflow) -> None:
    """`check` finds everything that the gateway needs."""
    ran = subprocess.run(
        [BIN / "dag-inference-server", "check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=airflow.settings,
    )
    assert ran.returncode == 0, ran.stderr
    assert f"Airflow {airflow.release}." in ran.stdout
    assert "The account may list runs of all DAGs." in ran.stdout


def test_the_result_of_one_task(client: DagInferenceClient) -> None:
    """The value of a DAG's only task comes back as it is, and conf goes there."""
    result = client.call("one_task", {"number": 4}, timeout=120)
    assert (result.kind, result.value) == (ResultKind.OBJECT, {"doubled": 8})


def test_the_result_does_not_wait_for_a_teardown(
    client: DagInferenceClient, airflow: ReleasedAirflow, tmp_path: Path
) -> None:
    """The answer goes out when the result is there, while a teardown keeps the run running."""
    gate = tmp_path / "gate"
    result = client.call("held_teardown", {"gate": str(gate)}, timeout=90)
    run = ("held_teardown", result.run.run_id)
    assert (result.value, airflow.ui.run(*run)["state"]) == ({"answer": 42}, "running")
    gate.touch()
    eventually(lambda: airflow.ui.run(*run)["state"] == "success")


def test_a_failure_does_not_wait_for_a_clean_up(
    client: DagInferenceClient, airflow: ReleasedAirflow, tmp_path: Path
) -> None:
    """The error goes out when the result is lost, while an `all_done` task is still at work.

    The run then ends as `success`, which it was not.
    """
    gate = tmp_path / "gate"
    with pytest.raises(TaskFailed) as caught:
        client.invoke("held_clean_up", {"gate": str(gate)}, timeout=90)
    error = caught.value
    assert error.run_id
    run = ("held_clean_up", error.run_id)
    assert (error.subject.task_id, airflow.ui.run(*run)["state"]) == ("work", "running")
    gate.touch()
    eventually(lambda: airflow.ui.run(*run)["state"] == "success")


def test_what_a_task_raised(client: DagInferenceClient) -> None:
    """A log has the same form, and tells what ended the try.

    A busy API server may not hand it over as quickly as an error goes out.
    """

    def failed() -> TaskFailed:
        with pytest.raises(TaskFailed) as caught:
            client.call("raises", request_id="raises", timeout=90)
        return caught.value

    eventually(lambda: failed().exception_type)
    error = failed()
    assert error.exception_type == "ValueError"
    assert error.message == "task work [0] failed on try 1: ValueError: no 7"


def test_several_calls_at_once(client: DagInferenceClient, airflow: ReleasedAirflow) -> None:
    """Every call gets the result of its own run, also beside runs that are nobody's call."""

    def call(number: int) -> object:
        airflow.ui.trigger("one_task", f"somebody-else-{number}")
        return client.invoke("one_task", {"number": number}, timeout=120)

    with ThreadPoolExecutor(CALLERS) as callers:
        results = list(callers.map(call, range(CALLERS)))
    assert results == [{"doubled": 2 * number} for number in range(CALLERS)]


def test_the_events_of_a_stream(client: DagInferenceClient) -> None:
    """A stream begins with the run and how its result is known, and ends with the result."""
    first, *between, last = client.stream("one_task", {"number": 5}, timeout=90)
    assert isinstance(first, Accepted)
    assert (first.result_rule, first.result_task_ids) == (ResultRule.LEAF, ("double",))
    (*_, ended) = [event for event in between if isinstance(event, TaskInstanceChanged)]
    assert ended.task_instance.task_id == "double"
    assert ended.task_instance.state is TaskInstanceState.SUCCESS
    assert isinstance(last, Completed)
    assert last.result.value == {"doubled": 10}


def test_a_run_that_is_deleted(
    client: DagInferenceClient, airflow: ReleasedAirflow, tmp_path: Path
) -> None:
    """A call whose run is deleted, which Airflow permits while it is queued, ends with that."""
    gate = tmp_path / "gate"
    with closing(client.stream("one_at_a_time", {"gate": str(gate)}, timeout=90)) as occupying:
        while not (
            isinstance(event := next(occupying), RunChanged) and event.run.state is RunState.RUNNING
        ):
            pass
        queued = client.stream("one_at_a_time", {"gate": str(gate)}, timeout=90)
        accepted = next(queued)
        assert isinstance(accepted, Accepted)
        airflow.ui.delete("one_at_a_time", accepted.run.run_id)
        with pytest.raises(RunDeleted) as caught:
            list(queued)
        gate.touch()
    assert caught.value.run_id == accepted.run.run_id


def test_marked_in_an_earlier_life(client: DagInferenceClient, airflow: ReleasedAirflow) -> None:
    """A run that somebody marks is RUN_CANCELLED; another of its id, made later, is not."""
    airflow.ui.hold("returns_nothing")

    def mark(run_id: str) -> None:
        eventually(lambda: airflow.ui.state("returns_nothing", run_id, "nothing") == "scheduled")
        airflow.ui.mark("returns_nothing", run_id, "success")

    with pytest.raises(RunCancelled) as caught:
        client.call("returns_nothing", request_id="twice", on_run=mark, timeout=90)
    airflow.ui.delete("returns_nothing", str(caught.value.run_id))
    airflow.ui.release("returns_nothing")

    made = client.call("returns_nothing", request_id="twice", timeout=90)
    assert made.run.run_id == caught.value.run_id
    assert made.value == {"return_value": None}


def test_waiting_for_a_run_that_has_ended(
    client: DagInferenceClient, airflow: ReleasedAirflow
) -> None:
    """`Wait` gives the result of a run that has ended."""
    made = client.call("one_task", {"number": 6}, timeout=90)
    eventually(lambda: airflow.ui.run("one_task", made.run.run_id)["state"] == "success")
    assert client.wait("one_task", made.run.run_id, timeout=30).value == {"doubled": 12}


def test_what_there_is_to_call(client: DagInferenceClient) -> None:
    """DAGs are listed and described as a newer Airflow's are."""
    listed = {dag.dag_id: dag.availability for dag in client.dags(timeout=60)}
    assert listed["one_task"] is DagAvailability.READY
    described = client.describe("held_clean_up", timeout=60)
    assert (described.result_task_ids, described.result_rule) == (("work",), ResultRule.TAG)
    assert described.params_schema["properties"] == {}
