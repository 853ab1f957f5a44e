"""A streamed call: every step on the way, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults, steps
from integration.gateway import Gateway
from integration.statuses import failure
from integration.waiting import eventually, first_run

REQUEST = pb.InvokeRequest(dag_id="dag")
LOAD_AND_PREDICT = (Task("load", downstream=["predict"]), Task("predict"))


async def test_accepted_first_result_last(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The run first, the result last, and between them each state as it comes."""
    airflow.add(Dag("dag", *LOAD_AND_PREDICT))
    stream = gateway.stub.InvokeStream(REQUEST, timeout=10)
    events = stream.__aiter__()

    accepted = (await anext(events)).accepted
    (run,) = airflow.made
    assert accepted.run.run_id == run.run_id
    assert accepted.run.state == pb.RUN_STATE_QUEUED
    assert not accepted.attached
    assert accepted.result_rule == pb.RESULT_RULE_LEAF
    assert list(accepted.result_task_ids) == ["predict"]
    assert dict(await stream.initial_metadata())["dag-run-id"] == run.run_id

    for step, expected in (
        (steps.start(), "run RUNNING"),
        (steps.begin("load"), "load RUNNING 1"),
        (steps.retry("load"), "load UP_FOR_RETRY 1"),
        (steps.begin("load"), "load RUNNING 2"),
        (steps.finish("load"), "load SUCCESS 2"),
        (steps.begin("predict"), "predict RUNNING 1"),
    ):
        step(run)
        assert said(await anext(events)) == expected
    run.finish("predict", {"a": 1})
    run.end("success")

    *ends, result = [said(event) async for event in events]
    # Runs and task instances are two listings, and the end may fall between them.
    assert set(ends) <= {"predict SUCCESS 1", "run SUCCESS"}
    assert "predict SUCCESS 1" in ends
    assert result == "result {'a': 1.0}"


async def test_run_that_is_over_at_once(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Of a run that ends before the first poll, final states are told all the same."""
    script = [steps.finish("load"), steps.finish("predict", 1), steps.end()]
    airflow.add(Dag("dag", *LOAD_AND_PREDICT, script=script))

    events = [said(event) async for event in gateway.stub.InvokeStream(REQUEST, timeout=10)]

    assert events[0] == "accepted"
    assert events[-1] == "result {'return_value': 1.0}"
    assert "load SUCCESS 1" in events
    assert "predict SUCCESS 1" in events


async def test_events_before_the_error(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A call that fails tells first what had happened by then."""
    airflow.add(Dag("dag", script=[steps.begin("predict"), steps.fail("predict")]))
    seen: list[str] = []

    async def read() -> None:
        async for event in gateway.stub.InvokeStream(REQUEST, timeout=10):
            seen.append(said(event))  # noqa: PERF401 - the error comes after the events

    failed = await failure(read())

    assert failed.reason == "TASK_FAILED"
    assert failed.metadata["run_id"] == airflow.made[0].run_id
    assert seen[0] == "accepted"
    assert "predict FAILED 1" in seen


async def test_attached(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A stream that shares the run of an earlier call says so, and shows where it stands."""
    dag = airflow.add(Dag("dag", *LOAD_AND_PREDICT, script=[steps.finish("load")]))
    request = pb.InvokeRequest(dag_id="dag", request_id="mine")
    first = gateway.stub.InvokeStream(request, timeout=10)
    await anext(first.__aiter__())
    first.cancel()

    events = gateway.stub.InvokeStream(request, timeout=10).__aiter__()

    accepted = (await anext(events)).accepted
    assert accepted.attached
    assert accepted.run.state == pb.RUN_STATE_RUNNING
    assert said(await anext(events)) == "load SUCCESS 1"
    dag.made[0].finish("predict", 1)
    assert [said(event) async for event in events][-1] == "result {'return_value': 1.0}"
    assert len(dag.made) == 1


@pytest.mark.parametrize(
    ("age", "attached"), [(None, False), (10, True)], ids=["its own", "an older one"]
)
async def test_whose_run_it_is_after_a_lost_answer(
    airflow: FakeAirflow, gateway: Gateway, age: int | None, attached: bool
) -> None:
    """The run that a repeated trigger finds is the call's own, unless it is older than the call."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    request = pb.InvokeRequest(dag_id="dag", request_id="mine")
    if age is not None:
        await gateway.stub.Invoke(request, timeout=5)
        (run,) = dag.made
        assert run.queued_at
        run.queued_at -= timedelta(minutes=age)
    airflow.faults.add(faults.lost(), Kind.TRIGGER, times=1)

    events = [event async for event in gateway.stub.InvokeStream(request, timeout=5)]

    assert events[0].accepted.attached == attached
    assert len(dag.made) == 1


@pytest.mark.parametrize("settings", [{"heartbeat_interval": 0.05}], ids=[""])
async def test_heartbeat(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A stream on which nothing happens shows that it is alive, and how the run stands."""
    airflow.add(Dag("dag", script=[steps.begin("predict")]))
    events = gateway.stub.InvokeStream(REQUEST, timeout=10).__aiter__()

    heartbeats = [event async for event in _up_to(events, 3, "heartbeat")]

    assert said(heartbeats[-1]) == "heartbeat RUNNING"
    airflow.made[0].finish("predict", 1)
    assert [said(event) async for event in events][-1] == "result {'return_value': 1.0}"


async def test_slow_reader(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A reader that falls behind gets the newest state of each task, not all it has missed."""
    tasks = [Task(f"{n}-{'x' * 240}") for n in range(50)]
    dag = airflow.add(Dag("dag", *tasks, Task("predict"), tags=["result:predict"]))
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]
    address = f"127.0.0.1:{gateway.serving.port}"
    async with grpc.aio.insecure_channel(address, options) as channel:
        stub = replace(gateway, channel=channel).stub
        stream = stub.InvokeStream(REQUEST, timeout=20)
        events = stream.__aiter__()
        run = await first_run(dag)
        rounds = 15
        for _ in range(rounds):
            for task in tasks:
                run.begin(task.task_id)
            await states_told(airflow)
        run.finish("predict", 1)

        told = [event.task_instance async for event in events if event.HasField("task_instance")]

    newest = {instance.task_id: instance.try_number for instance in told}
    assert newest.pop("predict") == 1
    assert newest == {task.task_id: rounds for task in tasks}
    assert len(told) < rounds * len(tasks)


def said(event: pb.InvokeStreamResponse) -> str:
    """An event in a few words."""
    kind = event.WhichOneof("event")
    body: Any = getattr(event, str(kind))
    match kind:
        case "run":
            return f"run {pb.RunState.Name(body.state).removeprefix('RUN_STATE_')}"
        case "task_instance":
            state = pb.TaskInstanceState.Name(body.state).removeprefix("TASK_INSTANCE_STATE_")
            return f"{body.task_id} {state} {body.try_number}"
        case "heartbeat":
            return f"heartbeat {pb.RunState.Name(body.run_state).removeprefix('RUN_STATE_')}"
        case "result":
            return f"result {MessageToDict(body.result)}"
        case _:
            return str(kind)


async def states_told(airflow: FakeAirflow) -> None:
    """Wait until every state, not the final ones alone, was asked for twice more."""

    def asked() -> int:
        polls = (asked.request.query for asked in airflow.asked if asked.kind is Kind.INSTANCES)
        return sum("state" not in query for query in polls)

    enough = asked() + 2
    await eventually(lambda: asked() >= enough)


async def _up_to(
    events: AsyncIterator[pb.InvokeStreamResponse], count: int, kind: str
) -> AsyncIterator[pb.InvokeStreamResponse]:
    async for event in events:
        yield event
        count -= event.WhichOneof("event") == kind
        if not count:
            return
