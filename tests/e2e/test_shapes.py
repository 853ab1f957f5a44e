"""Which tasks give the result, and in which shape it comes, on a real Airflow."""

from __future__ import annotations

import pytest

from dag_inference import (
    Accepted,
    Completed,
    DagInferenceClient,
    DagInferenceError,
    DeadlineExceeded,
    RequestIdReused,
    ResultKind,
    ResultRule,
    ResultSkipped,
    ResultTaskUnknown,
    RunNotFound,
    RunNotOurs,
    TaskFailed,
)


@pytest.mark.parametrize(
    ("dag_id", "kind", "value"),
    [
        ("leaf_value", ResultKind.WRAPPED_VALUE, {"return_value": 42}),
        ("null_value", ResultKind.WRAPPED_VALUE, {"return_value": None}),
        ("mapped_result", ResultKind.WRAPPED_VALUE, {"return_value": [9, 1, 4]}),
        (
            "two_results",
            ResultKind.BY_TASK,
            {"left": {"side": "left"}, "right": [1, 2.5, 2**63]},
        ),
        ("no_result", ResultKind.NONE, {}),
        ("side_branch_fails", ResultKind.OBJECT, {"ok": True}),
        ("from_a_factory", ResultKind.OBJECT, {"made": "from_a_factory"}),
        ("after_teardown", ResultKind.OBJECT, {"answer": 42}),
    ],
)
def test_every_shape(
    client: DagInferenceClient, dag_id: str, kind: ResultKind, value: dict[str, object]
) -> None:
    """An object comes as it is, another value wrapped, several by task, none empty."""
    result = client.call(dag_id, timeout=90)
    assert (result.kind, result.value) == (kind, value)


@pytest.mark.parametrize(
    ("dag_id", "rule", "tasks"),
    [
        ("leaf_value", ResultRule.LEAF, ("second",)),
        ("null_value", ResultRule.DECLARED, ("nothing",)),
        ("no_result", ResultRule.NONE, ()),
        ("from_a_factory", ResultRule.RUN_END, ()),
        ("answer_question", ResultRule.TAG, ("answer",)),
        ("classify_iris", ResultRule.DECLARED, ("predict",)),
    ],
)
def test_how_the_result_tasks_are_found(
    client: DagInferenceClient, dag_id: str, rule: ResultRule, tasks: tuple[str, ...]
) -> None:
    """The first event of a stream says which tasks give the result, and how that is known."""
    stream = client.stream(dag_id, {"audit_seconds": 0} if dag_id == "classify_iris" else None)
    accepted = next(stream)
    stream.close()
    assert isinstance(accepted, Accepted)
    assert (accepted.result_rule, accepted.result_task_ids) == (rule, tasks)


def test_the_caller_can_choose_the_result(client: DagInferenceClient) -> None:
    """`result_task_ids` comes before everything that the DAG says of itself."""
    assert client.invoke("leaf_value", result_task_ids=["first"], timeout=90) == {"return_value": 2}


def test_a_result_task_that_does_not_exist(client: DagInferenceClient) -> None:
    """Naming a task that the DAG does not have is an error before any run is made."""
    with pytest.raises(ResultTaskUnknown) as caught:
        client.invoke("leaf_value", result_task_ids=["third"], timeout=90)
    assert caught.value.run_id is None


def test_a_failure_is_told_where_nothing_is_known(client: DagInferenceClient) -> None:
    """A DAG whose result nobody knows in advance, whose run ends `success`: still TASK_FAILED."""
    with pytest.raises(TaskFailed) as caught:
        client.invoke("from_a_factory", {"fail": True}, timeout=90)
    assert caught.value.subject.task_id == "work"


def test_a_skipped_result(client: DagInferenceClient) -> None:
    """A result task that was skipped is no result and no success."""
    with pytest.raises(ResultSkipped):
        client.invoke("skipped_result", timeout=90)


def test_the_deadline_leaves_the_run_alone(client: DagInferenceClient) -> None:
    """After DEADLINE_EXCEEDED the run goes on, and `Wait` gets its result."""
    with pytest.raises(DeadlineExceeded) as caught:
        client.invoke("slow", {"seconds": 10}, timeout=5)
    error = caught.value
    assert error.run_id
    assert error.subject.run_state in ("queued", "running")
    waited = client.wait("slow", error.run_id, timeout=60)
    assert waited.value == {"return_value": "awake"}
    # And once more, now that it has ended.
    assert client.wait("slow", error.run_id, timeout=60).value == waited.value


def test_a_request_id_names_one_run(client: DagInferenceClient) -> None:
    """The same request id again gives the same run and answer; with another conf it is refused."""
    first = client.call("leaf_value", {"n": 1}, request_id="once", timeout=90)
    again = client.call("leaf_value", {"n": 1.0}, request_id="once", timeout=90)
    assert (again.run.run_id, again.value) == (first.run.run_id, first.value)
    with pytest.raises(RequestIdReused) as caught:
        client.call("leaf_value", {"n": 2}, request_id="once", timeout=90)
    assert caught.value.run_id == first.run.run_id


def test_watching_a_run_that_has_ended(client: DagInferenceClient) -> None:
    """`Watch` first tells where the run stands, and then gives its result."""
    made = client.call("leaf_value", timeout=90)
    first, *_, last = client.watch("leaf_value", made.run.run_id, timeout=60)
    assert isinstance(first, Accepted)
    assert first.attached
    assert isinstance(last, Completed)
    assert last.result.value == made.value


@pytest.mark.parametrize(
    ("run_id", "error"),
    [("grpc-0123456789abcdef0123456789abcdef", RunNotFound), ("scheduled__2026-01-01", RunNotOurs)],
)
def test_runs_that_cannot_be_waited_for(
    client: DagInferenceClient, run_id: str, error: type[DagInferenceError]
) -> None:
    """A run that is not there, and one that no gateway made."""
    with pytest.raises(error):
        client.wait("leaf_value", run_id, timeout=30)
