"""What a failed task raised, out of a real Airflow's logs."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from dag_inference import DagInferenceClient, TaskFailed
from e2e.harness import Standalone, serving
from e2e.waiting import eventually


def failed(client: DagInferenceClient, dag_id: str, way: str) -> TaskFailed:
    """The error of a call."""
    with pytest.raises(TaskFailed) as caught:
        client.invoke(dag_id, {"way": way}, timeout=120)
    return caught.value


def told(client: DagInferenceClient, dag_id: str, way: str) -> TaskFailed:
    """The error of a call, or of one that comes back, that tells of an exception.

    An API server that is busy may not hand over a log as quickly as an error goes out.
    """
    errors = [failed(client, dag_id, way)]

    def with_exception() -> bool:
        if errors[-1].exception_type is None:
            with pytest.raises(TaskFailed) as caught:
                client.wait(dag_id, errors[0].run_id or "", timeout=60)
            errors.append(caught.value)
        return errors[-1].exception_type is not None

    eventually(with_exception)
    return errors[-1]


@pytest.mark.parametrize(
    ("dag_id", "way", "kind", "message"),
    [
        ("raises", "look_up", "KeyError", "work failed on try 1: KeyError: 'x'"),
        ("raises", "of_a_cause", "BadInput", "work failed on try 1: BadInput: no such customer"),
        (
            "raises",
            "of_a_context",
            "RuntimeError",
            "work failed on try 1: RuntimeError: while something else was handled",
        ),
        ("raises", "of_many_words", "ValueError", "work failed on try 1: ValueError: bad input"),
        ("raises", "after_a_long_log", "BadInput", "work failed on try 1: BadInput: at last"),
        ("raises_before", "look_up", "KeyError", "check failed on try 1: KeyError: 'x'"),
        (
            "raises_mapped",
            "",
            "BadInput",
            "work [1] failed on try 1: BadInput: no 2, please",
        ),
    ],
)
def test_what_a_task_raised(
    client: DagInferenceClient, dag_id: str, way: str, kind: str, message: str
) -> None:
    """The exception that ended the try, and none that led to it, was handled or came after it."""
    error = told(client, dag_id, way)

    assert (error.message, error.exception_type) == (f"task {message}", kind)
    assert error.code is StatusCode.ABORTED


@pytest.mark.parametrize("way", ["by_an_exit", "by_a_signal"])
def test_a_task_that_did_not_end_with_an_exception(client: DagInferenceClient, way: str) -> None:
    """Nothing is made up, though other exceptions are in the log."""
    error = failed(client, "raises", way)

    assert (error.message, error.exception_type) == ("task work failed on try 1", None)


def test_a_code_of_the_operators_choice(standalone: Standalone) -> None:
    """By exception or by task."""
    chosen = {
        "DAG_INFERENCE_EXCEPTION_CODES": '{"KeyError": "NOT_FOUND"}',
        "DAG_INFERENCE_TASK_CODES": '{"raises_before": {"check": "INVALID_ARGUMENT"}}',
    }
    with (
        serving({**standalone.account(), **chosen}) as target,
        DagInferenceClient(target) as client,
    ):
        assert told(client, "raises", "look_up").code is StatusCode.NOT_FOUND
        assert failed(client, "raises_before", "look_up").code is StatusCode.INVALID_ARGUMENT
