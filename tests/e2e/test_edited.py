"""DAGs that are edited while calls wait, or that name their results oddly, on a real Airflow."""

from __future__ import annotations

import pytest

from dag_inference import DagInferenceClient, ResultTaskUnknown, TaskFailed
from e2e.harness import Standalone
from e2e.ui import AirflowUi
from e2e.waiting import eventually

BEFORE = """
from airflow.sdk import dag, task

@dag(schedule=None, tags=["result:answer"])
def {dag_id}():
    @task(pool="{dag_id}")
    def answer():
        return "as it was"

    answer()

{dag_id}()
"""


def test_edited_while_a_call_waits(
    client: DagInferenceClient, ui: AirflowUi, standalone: Standalone
) -> None:
    """A run whose DAG becomes another gives what its result task then returns."""
    after = BEFORE.replace("as it was", "as it is").replace(
        "    answer()\n", "    @task\n    def more():\n        pass\n\n    more() >> answer()\n"
    )

    def edit(run_id: str) -> None:
        _wait_until_held(ui, "edited", run_id)
        _write(standalone, ui, "edited", after)
        ui.release("edited")

    ui.hold("edited")
    _write(standalone, ui, "edited", BEFORE)
    assert client.call("edited", on_run=edit, timeout=90).value == {"return_value": "as it is"}


def test_the_result_task_is_removed(
    client: DagInferenceClient, ui: AirflowUi, standalone: Standalone
) -> None:
    """A run whose result task is taken out of the DAG has lost its result: TASK_FAILED."""

    def remove(run_id: str) -> None:
        _wait_until_held(ui, "robbed", run_id)
        _write(standalone, ui, "robbed", BEFORE.replace("answer()", "other()"))
        ui.release("robbed")

    ui.hold("robbed")
    _write(standalone, ui, "robbed", BEFORE)
    with pytest.raises(TaskFailed) as caught:
        client.call("robbed", on_run=remove, timeout=90)
    assert caught.value.subject.task_id == "answer"


def test_a_tag_that_names_no_task(client: DagInferenceClient) -> None:
    """A tag with a result task that is not there is the DAG's mistake, told before any run."""
    with pytest.raises(ResultTaskUnknown) as caught:
        client.invoke("tagged_with_nothing", timeout=90)
    assert caught.value.run_id is None


def test_results_under_other_names(client: DagInferenceClient) -> None:
    """Results in groups and with `override`d names are found, as Airflow calls them."""
    assert client.invoke("named_anew", timeout=90) == {
        "inner.work_1": {"number": 1},
        "inner.work_2": {"number": 2},
    }


def _write(standalone: Standalone, ui: AirflowUi, dag_id: str, text: str) -> None:
    """Write a DAG's file, and wait until Airflow has made the next version of it."""
    version = ui.version(dag_id)
    (standalone.dropped / f"{dag_id}.py").write_text(text.format(dag_id=dag_id))
    if version:
        ui.parse(dag_id)
    eventually(lambda: ui.version(dag_id) == version + 1)


def _wait_until_held(ui: AirflowUi, dag_id: str, run_id: str) -> None:
    eventually(lambda: ui.state(dag_id, run_id, "answer") == "scheduled")
