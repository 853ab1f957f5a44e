"""The example DAGs, called as a service would."""

from __future__ import annotations

import pytest

from dag_inference import (
    Accepted,
    Completed,
    DagInferenceClient,
    RunState,
    TaskFailed,
    TaskInstanceChanged,
    TaskInstanceState,
)


def test_the_answer_does_not_wait_for_the_audit(client: DagInferenceClient) -> None:
    """`classify_iris` answers while its teardown, which takes a minute, still runs."""
    result = client.call(
        "classify_iris", {"instances": [[5.1, 3.5, 1.4, 0.2]], "audit_seconds": 60}, timeout=50
    )
    assert result.value["labels"] == ["setosa"]
    assert result.run.state is RunState.RUNNING


def test_a_fan_out_is_joined(client: DagInferenceClient) -> None:
    """`count_primes` maps over chunks, and the joined number is the true one."""
    result = client.invoke("count_primes", {"limit": 1000, "chunks": 3}, timeout=90)
    assert (result["primes"], result["largest"], len(result["chunks"])) == (168, 997, 3)


@pytest.mark.parametrize(
    ("question", "tool", "answer"),
    [
        ("What is 12 times (3 + 4)?", "calculate", "84"),
        ("Who won the cup yesterday?", "give_up", "I do not know."),
    ],
)
def test_a_branch_is_followed(
    client: DagInferenceClient, question: str, tool: str, answer: str
) -> None:
    """`answer_question` runs one of its tools and skips the others; the join still answers."""
    result = client.invoke("answer_question", {"question": question}, timeout=90)
    assert (result["tool"], result["answer"]) == (tool, answer)


def test_a_failure_before_the_result_is_told_although_the_run_succeeds(
    client: DagInferenceClient,
) -> None:
    """`price_order` ends `success` by its clean-up leaf; the caller gets the failed task."""
    order = {"lines": [{"sku": "TEA", "quantity": -1, "unit_price": "4.95"}], "country": "DE"}
    with pytest.raises(TaskFailed) as caught:
        client.invoke("price_order", order, timeout=90)
    assert caught.value.subject.task_id == "parse_order"
    assert caught.value.subject.try_number == 1
    assert caught.value.run_id


def test_good_input_is_priced_exactly(client: DagInferenceClient) -> None:
    """The same DAG with a good order gives decimal amounts."""
    order = {"lines": [{"sku": "TEA", "quantity": 3, "unit_price": "4.95"}], "country": "DE"}
    assert client.invoke("price_order", order, timeout=90)["gross"] == "17.67"


def test_a_stream_shows_every_step(client: DagInferenceClient) -> None:
    """`InvokeStream`: accepted, the tasks up to success in order, then the result."""
    *steps, last = client.stream("count_primes", {"limit": 100, "chunks": 2}, timeout=90)
    assert isinstance(steps[0], Accepted)
    succeeded = [
        step.task_instance.task_id
        for step in steps
        if isinstance(step, TaskInstanceChanged)
        and step.task_instance.state is TaskInstanceState.SUCCESS
    ]
    assert succeeded == ["ranges", "count", "count", "total"]
    assert isinstance(last, Completed)
    assert last.result.value["primes"] == 25
