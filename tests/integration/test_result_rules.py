"""Which task gives the result: request, tag, setting, declaration, leaf, else the run's end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults, steps
from integration.gateway import Gateway, running, settings_for
from integration.statuses import failure
from integration.waiting import first_run

TASKS = [
    Task("requested", ["leaf"]),
    Task("tagged", ["leaf"]),
    Task("set", ["leaf"]),
    Task("declared", ["leaf"]),
    Task("leaf"),
]
DECLARING = [Task(t.task_id, t.downstream, is_result=t.task_id == "declared") for t in TASKS]
SET = {"result_tasks": {"dag": ("set",)}}


@pytest.mark.parametrize("settings", [{"result_tasks": {"dag": ("predcit",)}}], ids=[""])
async def test_a_setting_that_names_no_task(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is told by its name: it is an operator who has to mend it."""
    airflow.add(Dag("dag"))

    failed = await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5))

    assert failed.message == (
        "the gateway's setting RESULT_TASKS names the result task predcit, which dag does not have"
    )


@pytest.mark.parametrize(
    ("settings", "requested", "tags", "tasks", "source", "rule", "winner"),
    [
        (SET, ["requested"], ["result:tagged"], DECLARING, "", "REQUEST", "requested"),
        (SET, [], ["result:tagged"], DECLARING, "", "TAG", "tagged"),
        (SET, [], ["team:ml"], DECLARING, "", "SETTING", "set"),
        ({}, [], [], DECLARING, "", "DECLARED", "declared"),
        ({}, [], [], TASKS, "", "LEAF", "leaf"),
        ({}, [], [], DECLARING, None, "RUN_END", "declared"),
        ({}, [], [], DECLARING, "REDACTED: not for you", "RUN_END", "declared"),
    ],
)
async def test_first_rule_that_applies(  # noqa: PLR0917 - pytest passes by name
    airflow: FakeAirflow,
    gateway: Gateway,
    requested: Sequence[str],
    tags: Sequence[str],
    tasks: Sequence[Task],
    source: str | None,
    rule: str,
    winner: str,
) -> None:
    """The first rule that names a task wins, and a stream says which one it was."""
    dag = airflow.add(Dag("dag", *tasks, tags=tags, script=finish_all(tasks)))
    if source != "":
        dag.latest.source = source
    request = pb.InvokeRequest(dag_id="dag", result_task_ids=requested)

    events = [event async for event in gateway.stub.InvokeStream(request, timeout=5)]

    accepted, result = events[0].accepted, events[-1].result
    assert pb.ResultRule.Name(accepted.result_rule) == f"RESULT_RULE_{rule}"
    assert list(accepted.result_task_ids) == ([] if rule == "RUN_END" else [winner])
    assert MessageToDict(result.result) == {"return_value": f"of {winner}"}


@pytest.mark.parametrize("trigger_rule", ["all_done", "one_failed", "always"])
async def test_a_clean_up_is_no_result(
    airflow: FakeAirflow, gateway: Gateway, trigger_rule: str
) -> None:
    """A leaf that also runs after a failure is never taken for the result."""
    tasks = Task("predict", ["clean_up"]), Task("clean_up", trigger_rule=trigger_rule)
    airflow.add(Dag("dag", *tasks, script=finish_all(tasks)))

    response = await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)

    assert response.result_kind == pb.RESULT_KIND_NONE
    assert response.run.state == pb.RUN_STATE_SUCCESS


async def test_before_33_nothing_is_declared(airflow: FakeAirflow) -> None:
    """Airflow before 3.3 has no `@result`: its DAGs' only leaf is the result."""
    # A gateway asks for the version once.
    airflow.faults.add(faults.of_version("3.2.1"), Kind.VERSION)
    airflow.add(Dag("dag", source=None, script=[steps.finish("predict", 1)]))

    async with running(settings_for(airflow)) as gateway:
        response = await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)

    assert MessageToDict(response.result) == {"return_value": 1}


async def test_version_moved_before_the_trigger(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A run of a newer version than the one that was read goes by that one."""
    dag = airflow.add(Dag("dag", Task("old")))
    newer = Task("new", ["last"], is_result=True), Task("last")
    airflow.faults.add(faults.just_before(lambda: dag.new_version(*newer)), Kind.TRIGGER, times=1)
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    run.start()
    run.finish("new", "of the new version")

    response = await answer

    assert (response.run.dag_version, response.run.state) == (2, pb.RUN_STATE_RUNNING)
    assert MessageToDict(response.result) == {"return_value": "of the new version"}


@pytest.mark.parametrize("version", ["3.1.8", "3.3.2"])
async def test_version_moved_where_nothing_is_declared(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """A file that was changed under a call, and says the same of the result, is no error."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1), steps.end()]))
    airflow.faults.add(
        faults.just_before(lambda: dag.new_version(Task("predict"))), Kind.TRIGGER, times=1
    )

    response = await _invoke(gateway)

    assert response.run.dag_version == 2
    assert MessageToDict(response.result) == {"return_value": 1}


async def test_version_moved_twice(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A run of a version that nobody can read any more is judged by its end alone."""
    dag = airflow.add(Dag("dag", Task("old")))
    newer = Task("new", ["last"], is_result=True), Task("last")

    def move_twice() -> None:
        # Its own version is that of the trigger.
        dag.new_version(*newer)
        airflow.faults.add(
            faults.just_before(lambda: dag.new_version(Task("newest"))), Kind.DAG, times=1
        )

    airflow.faults.add(faults.just_before(move_twice), Kind.TRIGGER, times=1)
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    run.finish("new", "of its own version")
    await airflow.polls(3)
    assert not answer.done()
    run.finish("last")
    run.end("success")

    response = await answer

    assert response.run.dag_version == 2
    assert MessageToDict(response.result) == {"return_value": "of its own version"}


def finish_all(tasks: Sequence[Task]) -> list[Any]:
    """Every task succeeds, and so does the run."""
    finished = [steps.finish(task.task_id, f"of {task.task_id}") for task in tasks]
    return [*finished, steps.end("success")]


async def _invoke(gateway: Gateway) -> pb.InvokeResponse:
    return await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=10)
