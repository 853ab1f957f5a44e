"""The fake answers with what the models of Airflow's own client demand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import airflow_client.client
import pytest
from pydantic import BaseModel

from fakes.airflow import Dag, FakeAirflow, Run, Task, answers
from integration.run_ids import ours


def run() -> Run:
    """A run with a value."""
    made = Dag("dag", Task("predict"), tags=["result:predict"]).trigger(ours("1"), {"a": 1})
    made.log("predict", "caught", ValueError("handled"))
    made.finish("predict", 1)
    made.end("success")
    return made


models: Any = airflow_client.client

BODIES: dict[str, tuple[Any, Callable[[Run], answers.Body]]] = {
    "DAGResponse": (models.DAGResponse, lambda run: answers.dag(run.dag)),
    "DAGDetailsResponse": (models.DAGDetailsResponse, lambda run: answers.dag_details(run.dag)),
    "DAGSourceResponse": (
        models.DAGSourceResponse,
        lambda run: answers.dag_source(run.dag, run.version),
    ),
    "TaskResponse": (models.TaskResponse, lambda run: answers.task(run.dag, run.version.tasks[0])),
    "DAGRunResponse": (models.DAGRunResponse, answers.dag_run),
    "TaskInstanceResponse": (
        models.TaskInstanceResponse,
        lambda run: answers.task_instance(run, run.instance("predict")),
    ),
    "XComResponseNative": (
        models.XComResponseNative,
        lambda run: answers.xcom(run, "predict", -1),
    ),
    "TaskInstancesLogResponse": (
        models.TaskInstancesLogResponse,
        lambda run: answers.task_log(run, "predict", -1, 1),
    ),
    "DAGRunCollectionResponse": (
        models.DAGRunCollectionResponse,
        lambda run: answers.page("dag_runs", [answers.dag_run(run)], 1),
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_keys_and_types(name: str) -> None:
    """Every key of the model is there, none besides, and each has its type."""
    model, body = BODIES[name]
    answer = json.loads(json.dumps(body(run())))

    assert isinstance(model.from_dict(answer), BaseModel)
    fields = {field.alias or key for key, field in model.model_fields.items()}
    assert set(answer) == fields - {"additional_properties"}


async def test_stops_cleanly(airflow: FakeAirflow) -> None:
    """It can be stopped and started again on its port, and stopped twice."""
    url = airflow.url
    await airflow.stop()
    await airflow.start()
    assert airflow.url == url
    await airflow.stop()
