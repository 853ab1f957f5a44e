"""A call that succeeds: when it answers, and with what."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Task, steps
from integration.gateway import Gateway
from integration.waiting import eventually, first_run

HOUR = timedelta(hours=1)
MAPPED = Task("predict", is_mapped=True)


def call(dag_id: str = "dag", **fields: Any) -> pb.InvokeRequest:
    """A request."""
    return pb.InvokeRequest(dag_id=dag_id, **fields)


def value(response: pb.InvokeResponse) -> Any:
    """What came, as plain Python."""
    return MessageToDict(response.result)


async def test_answers_while_the_run_goes_on(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The answer comes as soon as the result task has succeeded, whatever still runs."""
    tasks = Task("predict", downstream=["audit"], is_result=True), Task("audit")
    airflow.add(
        Dag("dag", *tasks, script=[steps.finish("predict", {"a": 1}), steps.begin("audit")])
    )

    response = await gateway.stub.Invoke(call(), timeout=5)

    (run,) = airflow.made
    assert run.state == "running"
    assert value(response) == {"a": 1}
    assert (response.run.run_id, response.run.dag_id) == (run.run_id, "dag")
    assert response.run.state == pb.RUN_STATE_RUNNING
    assert response.run.dag_version == 1
    assert response.run.url == f"{airflow.url}/dags/dag/runs/{run.run_id}"


@pytest.mark.parametrize(
    ("returned", "kind", "result"),
    [
        ({"a": [1, None, {"b": "c"}]}, "OBJECT", {"a": [1, None, {"b": "c"}]}),
        ({}, "OBJECT", {}),
        ([1, 2], "WRAPPED_VALUE", {"return_value": [1, 2]}),
        ("text", "WRAPPED_VALUE", {"return_value": "text"}),
        (False, "WRAPPED_VALUE", {"return_value": False}),
        (0, "WRAPPED_VALUE", {"return_value": 0}),
        (None, "WRAPPED_VALUE", {"return_value": None}),
        (2**63, "WRAPPED_VALUE", {"return_value": "9223372036854775808"}),
    ],
)
async def test_shapes(
    airflow: FakeAirflow, gateway: Gateway, returned: Any, kind: str, result: Any
) -> None:
    """An object arrives as it is, any other value wrapped, and no value as null."""
    airflow.add(Dag("dag", script=[steps.finish("predict", returned)]))

    response = await gateway.stub.Invoke(call(), timeout=5)

    assert pb.ResultKind.Name(response.result_kind) == f"RESULT_KIND_{kind}"
    assert value(response) == result


async def test_by_task(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Several result tasks arrive by task; one that was skipped is left out."""
    tasks = [Task(name, is_result=True) for name in ("a", "b", "c")]
    script = [
        steps.finish("b", 2),
        steps.state("c", "skipped"),
        steps.finish("a"),
        steps.end("success"),
    ]
    airflow.add(Dag("dag", *tasks, script=script))

    response = await gateway.stub.Invoke(call(), timeout=5)

    assert response.result_kind == pb.RESULT_KIND_BY_TASK
    assert value(response) == {"a": None, "b": 2}


async def test_none(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A DAG without a result task answers with nothing, at the end of its run."""
    airflow.add(Dag("dag", Task("a"), Task("b"), script=[steps.finish("a", 1), steps.finish("b")]))
    answer = asyncio.create_task(_invoke(gateway))
    (run,) = await eventually(lambda: airflow.made)
    await airflow.polls(3)
    assert not answer.done()

    run.end("success")

    response = await answer
    assert response.result_kind == pb.RESULT_KIND_NONE
    assert value(response) == {}
    assert response.run.state == pb.RUN_STATE_SUCCESS


async def test_mapped_in_order(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A mapped task returns the list of its values in the order of the map, 0 to 119.

    Whatever the order in which they end; skipped instances and surplus ones of an earlier
    expansion are left out.
    """
    dag = airflow.add(Dag("dag", MAPPED))
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    run.expand("predict", 122)
    run.expand("predict", 121)
    run.set_state("predict", "skipped", 60)
    for index in sorted({*range(121)} - {60}, key=lambda index: index % 7):
        run.finish("predict", index, index)
        if index == 100:
            await airflow.polls(1)

    response = await answer

    assert response.result_kind == pb.RESULT_KIND_WRAPPED_VALUE
    assert value(response) == {"return_value": sorted({*range(121)} - {60})}


@pytest.mark.parametrize(
    "returned", [2**63, {"a": 2**53 + 1, "b": 1.0}, "ü", None, [1e-7, -0.0], {"": {}}]
)
async def test_json_is_exact(airflow: FakeAirflow, gateway: Gateway, returned: Any) -> None:
    """As JSON the value is what the task returned, to the last digit, and never wrapped."""
    airflow.add(Dag("dag", script=[steps.finish("predict", returned)]))

    response = await gateway.stub.Invoke(call(result_format=pb.RESULT_FORMAT_JSON), timeout=5)

    assert json.dumps(json.loads(response.result_json)) == json.dumps(returned)
    assert not response.HasField("result")


async def test_reference_reads_no_value(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A reference says where each value lies, and none is read."""
    finished = [steps.finish("predict", index, index) for index in (1, 0)]
    script = [steps.expand("predict", 2), *finished]
    airflow.add(Dag("dag", MAPPED, script=script))

    response = await gateway.stub.Invoke(call(result_format=pb.RESULT_FORMAT_REFERENCE), timeout=5)

    (run,) = airflow.made
    assert airflow.count(Kind.VALUE, Kind.WAIT) == 0
    assert not response.HasField("result")
    assert response.result_kind == pb.RESULT_KIND_UNSPECIFIED
    path = f"dagRuns/{run.run_id}/taskInstances/predict/xcomEntries/return_value"
    assert [
        (r.dag_id, r.run_id, r.task_id, r.map_index, r.key, r.api_url)
        for r in response.result_reference
    ] == [
        (
            "dag",
            run.run_id,
            "predict",
            index,
            "return_value",
            f"{airflow.url}/api/v2/dags/dag/{path}?map_index={index}",
        )
        for index in (0, 1)
    ]


async def test_run_id_comes_first(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The run id arrives as soon as the run exists, long before the result."""
    dag = airflow.add(Dag("dag"))
    told: list[str] = []
    answer = asyncio.create_task(gateway.client.call("dag", on_run=told.append, timeout=5))

    await eventually(lambda: told)

    (run,) = dag.made
    assert told == [run.run_id]
    assert not answer.done()
    run.finish("predict", 1)
    assert (await answer).value == {"return_value": 1}
    assert told == [run.run_id]


async def test_conf_arrives_exactly(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Airflow gets conf_json to the last digit, and whole numbers of a Struct as integers."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict")]))
    as_struct = call()
    as_struct.conf.update({"n": 3, "x": 0.5, "list": [None, True, {"s": "ü"}]})

    await gateway.stub.Invoke(call(conf_json='{"n": 9223372036854775809, "x": 1.0}'), timeout=5)
    await gateway.stub.Invoke(as_struct, timeout=5)
    await gateway.stub.Invoke(call(), timeout=5)

    assert [json.dumps(run.conf, sort_keys=True) for run in dag.made] == [
        '{"n": 9223372036854775809, "x": 1.0}',
        json.dumps({"list": [None, True, {"s": "ü"}], "n": 3, "x": 0.5}),
        "{}",
    ]


async def test_ids_beyond_ascii(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A DAG and a task may have any letters in their ids that Airflow allows."""
    airflow.add(Dag("größe.v1-ok", Task("tâche"), script=[steps.finish("tâche", 1)]))

    assert value(await gateway.stub.Invoke(call("größe.v1-ok"), timeout=5)) == {"return_value": 1}


async def test_clocks_that_differ(airflow: FakeAirflow, gateway: Gateway) -> None:
    """No stage is negative, missing, or an hour long, if Airflow's clock is an hour ahead."""
    for hours in (0, 1, -1):
        airflow.clock.ahead = hours * HOUR
        dag = airflow.add(Dag(f"dag{hours}", script=[steps.finish("predict", 1), steps.end()]))
        response = await gateway.stub.Invoke(call(dag.dag_id), timeout=5)
        stages = {field.name: span.ToTimedelta() for field, span in response.timing.ListFields()}
        assert len(stages) == len(pb.Timing.DESCRIPTOR.fields)
        assert min(stages.values()) >= 0 * HOUR
        assert max(stages.values()) < HOUR / 60


async def test_timing_adds_up(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The stages add up to the total, also of a call that shares an older run."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1), steps.end()]))
    await _invoke(gateway, request_id="mine")
    dag.made[0].queued_at = dag.made[0].run_after - HOUR

    timing = (await _invoke(gateway, request_id="mine")).timing

    stages = {field.name: span.ToTimedelta() for field, span in timing.ListFields()}
    assert stages.pop("total") == pytest.approx(sum(stages.values(), 0 * HOUR), abs=HOUR / 3600)


async def _invoke(gateway: Gateway, **fields: Any) -> pb.InvokeResponse:
    return await gateway.stub.Invoke(call(**fields), timeout=10)
