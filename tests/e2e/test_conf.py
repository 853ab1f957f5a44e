"""The gateway's verdict on a conf, beside Airflow's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from dag_inference import (
    ConfInvalid,
    DagAvailability,
    DagInferenceClient,
    RequestInvalid,
    ResultRule,
)
from dag_inference_server.airflow import DagDetails
from dag_inference_server.catalog.conf_check import violations
from e2e.harness import Standalone
from e2e.ui import AirflowUi
from e2e.waiting import eventually

BREAKS = """
from airflow.sdk import dag, task

@dag(schedule=None)
def breaks():
    @task
    def one():
        return 1

    one()

breaks()
"""

AT_ONCE = 4
"""Confs that Airflow judges at a time: one after the other takes twice as long."""

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    99,
    100,
    1.0,
    0.5,
    0.75,
    1e300,
    2**53 + 1,
    "",
    "a",
    "ab",
    "AB",
    "abcdef",
    "1",
    "é🐘",
    "2026-01-01",
    "2026-02-30",
    "2026-01-01T00:00:00Z",
    [],
    [1],
    [1, 1],
    [1, 1.0],
    [True, 1],
    ["a"],
    {},
    {"sku": "TEA"},
    {"sku": 1},
    {"sku": "TEA", "n": 1},
    {"sku": "TEA", "n": "1"},
    {"sku": "TEA", "other": 1},
]


def test_the_two_agree(client: DagInferenceClient, ui: AirflowUi) -> None:
    """Over every param and many values: the same confs are refused, and none besides."""
    params = DagDetails.model_validate(ui.details("conf_rules")).params
    assert params is not None
    confs: list[dict[str, Any]] = [{}, {"no such param": 1}]
    confs += [{name: value} for name in params for value in VALUES]

    ours = [not violations(params, conf) for conf in confs]
    run_ids = (f"conf-{number}" for number in range(len(confs)))
    with ThreadPoolExecutor(AT_ONCE) as people:
        theirs = [*people.map(partial(ui.accepts, "conf_rules"), run_ids, confs)]

    told = {True: "accepted here", False: "refused here"}
    differ = [
        (c, told[our]) for c, our, their in zip(confs, ours, theirs, strict=True) if our != their
    ]
    assert differ == []


def test_all_that_is_wrong_is_told_at_once(client: DagInferenceClient, ui: AirflowUi) -> None:
    """By the path of each field, before any run is made."""
    with pytest.raises(ConfInvalid) as caught:
        client.invoke("conf_required", {"times": 0}, timeout=60)

    assert [(v.field, v.description) for v in caught.value.violations] == [
        ("conf.name", "is required"),
        ("conf.times", "must be at least 1"),
    ]
    assert ui.runs("conf_required") == []


def test_a_conf_that_fits(client: DagInferenceClient) -> None:
    """Defaults fill in what is left out."""
    assert client.invoke("conf_required", {"name": "Ada"}, timeout=90) == {
        "return_value": ["Hello Ada"]
    }


def test_numbers_that_reach_no_task(client: DagInferenceClient, ui: AirflowUi) -> None:
    """Airflow takes them, and the task then fails without a word: refused here, by their place."""
    numbers = [2**64, -(2**63) - 1, 1e20]
    for number, value in enumerate(numbers):
        conf = {"name": "Ada", "value": value}
        with pytest.raises(RequestInvalid) as caught:
            client.invoke("conf_required", conf, timeout=60)
        assert [violation.field for violation in caught.value.violations] == ["conf_json.value"]
        assert ui.accepts("conf_required", f"beyond-{number}", conf)

    for number in range(len(numbers)):
        run_id = f"beyond-{number}"
        eventually(lambda run_id=run_id: ui.state("conf_required", run_id, "greet") == "failed")  # type: ignore[misc]
    numbers = [2**64 - 1, -(2**63), 1e19]
    largest = {"name": "Ada", "numbers": numbers}
    assert client.invoke("conf_required", largest, timeout=90) == {"return_value": ["Hello Ada"]}


def test_what_a_caller_can_find_out(client: DagInferenceClient) -> None:
    """Which DAGs there are, what they take and give, and a conf that works as it is."""
    listed = {dag.dag_id: dag.availability for dag in client.dags(timeout=60)}
    assert listed["conf_rules"] is DagAvailability.PAUSED
    assert listed["conf_required"] is DagAvailability.READY

    dag = client.describe("conf_required", timeout=60)
    assert dag.params_schema == {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "description": "Who is greeted."},
            "times": {"type": "integer", "minimum": 1, "default": 1},
        },
    }
    assert (dag.result_task_ids, dag.result_rule) == (("greet",), ResultRule.TAG)
    assert dag.max_active_runs == 16
    # A run goes on for a moment when its call has been answered.
    eventually(lambda: client.describe("conf_required", timeout=60).active_runs == 0)
    assert client.invoke("conf_required", dag.example, timeout=90) == {
        "return_value": ["Hello text"]
    }


def test_every_example_of_the_repository_can_be_called_from_its_description(
    client: DagInferenceClient,
) -> None:
    """Each says what it takes; each is ready; and each says where its result comes from."""
    for dag in client.dags(tags=["example"], timeout=60):
        described = client.describe(dag.dag_id, timeout=60)
        assert described.availability is DagAvailability.READY, dag.dag_id
        assert described.result_rule is not ResultRule.UNKNOWN, dag.dag_id


def test_a_file_that_breaks(client: DagInferenceClient, standalone: Standalone) -> None:
    """Its DAG is still told of, as broken, by the list and by its description."""
    file = standalone.dropped / "breaks.py"
    file.write_text(BREAKS)

    def listed() -> DagAvailability | None:
        found = {dag.dag_id: dag.availability for dag in client.dags(timeout=60)}
        return found.get("breaks")

    eventually(lambda: listed() is DagAvailability.READY, every=0.5)
    file.write_text("from airflow.sdk import dag\nraise RuntimeError('broken')\n")
    standalone.ui.parse("breaks")
    eventually(lambda: listed() is DagAvailability.BROKEN, every=0.5)
    described = client.describe("breaks", timeout=60)
    assert described.availability is DagAvailability.BROKEN
    assert "import errors" in described.availability_detail
    file.unlink()
