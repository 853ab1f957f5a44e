"""`Cancel` ends a run of a gateway's."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import TEARDOWN_RULE, Dag, FakeAirflow, Kind, Task, faults
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.statuses import failure
from integration.waiting import eventually, first_run


def cancellation(run_id: str, dag_id: str = "dag", comment: str = "") -> pb.CancelRequest:
    """A request to end a run."""
    return pb.CancelRequest(dag_id=dag_id, run_id=run_id, comment=comment)


@pytest.mark.parametrize("started", [False, True], ids=["queued", "running"])
async def test_those_who_wait_are_told(
    airflow: FakeAirflow, gateway: Gateway, started: bool
) -> None:
    """The answer is the run as it is then; every call that waits for it gets RUN_CANCELLED."""
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=10)
    run = await first_run(dag)
    if started:
        run.begin("predict")
    stream = gateway.stub.Watch(pb.WaitRequest(dag_id="dag", run_id=run.run_id), timeout=10)
    assert await stream.read()

    response = await gateway.stub.Cancel(cancellation(run.run_id, comment="wrong input"))

    assert response.run.run_id == run.run_id
    assert response.run.state == pb.RUN_STATE_FAILED
    failed = await failure(call)
    assert (failed.code, failed.reason) == (StatusCode.ABORTED, "RUN_CANCELLED")
    assert failed.metadata["run_id"] == run.run_id
    assert (await failure(_read(stream))).reason == "RUN_CANCELLED"
    assert run.note == "dag-inference: cancelled by request: wrong input"


async def test_a_teardown_still_runs(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The calls are answered at once, and the run goes on until its teardown has ended."""
    dag = airflow.add(
        Dag("dag", Task("predict", ["tidy"]), Task("tidy", trigger_rule=TEARDOWN_RULE))
    )
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=10)
    run = await first_run(dag)
    run.begin("predict")

    response = await gateway.stub.Cancel(cancellation(run.run_id))

    assert response.run.state == pb.RUN_STATE_RUNNING
    assert (await failure(call)).reason == "RUN_CANCELLED"
    run.finish("tidy")
    run.end("success")
    late = gateway.stub.Wait(pb.WaitRequest(dag_id="dag", run_id=run.run_id), timeout=10)
    assert (await failure(late)).reason == "RUN_CANCELLED"


@pytest.mark.parametrize("state", ["success", "failed"])
async def test_a_run_that_has_ended(airflow: FakeAirflow, gateway: Gateway, state: str) -> None:
    """It stays as it is, its result stays readable, and nothing is sent to Airflow but a GET."""
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})
    run.finish("predict", 1)
    run.end(state)

    response = await gateway.stub.Cancel(cancellation(ours("1")))

    assert pb.RunState.Name(response.run.state) == f"RUN_STATE_{state.upper()}"
    assert airflow.count(Kind.PATCH_RUN) == 0
    assert run.note is None


async def test_twice(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A second one changes nothing and is no error."""
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})

    first = await gateway.stub.Cancel(cancellation(ours("1"), comment="first"))
    second = await gateway.stub.Cancel(cancellation(ours("1"), comment="second"))

    assert first == second
    assert run.note == "dag-inference: cancelled by request: first"


async def test_a_cancelled_run_that_is_cleared(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It runs once more, and the note of its first start says nothing of the second one."""
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})
    await gateway.stub.Cancel(cancellation(ours("1")))
    run.clear("predict")
    wait = gateway.stub.Wait(pb.WaitRequest(dag_id="dag", run_id=ours("1")), timeout=10)
    await eventually(lambda: airflow.count(Kind.RUN_INSTANCES))

    run.fail("predict")

    assert (await failure(wait)).reason == "TASK_FAILED"


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (cancellation(ours("none")), StatusCode.NOT_FOUND, "RUN_NOT_FOUND"),
        (cancellation(ours("1"), "nope"), StatusCode.NOT_FOUND, "RUN_NOT_FOUND"),
        (cancellation("manual__1"), StatusCode.FAILED_PRECONDITION, "RUN_NOT_OURS"),
        (cancellation(ours("1"), "other"), StatusCode.PERMISSION_DENIED, "DAG_NOT_ALLOWED"),
        (cancellation(""), StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"),
        (cancellation(ours("1"), ""), StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"),
        (cancellation("grpc-../1"), StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"),
        (
            cancellation(ours("1"), comment="x" * 257),
            StatusCode.INVALID_ARGUMENT,
            "REQUEST_INVALID",
        ),
        (cancellation(ours("1"), comment="\0"), StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("settings", [{"dags": ("dag", "nope")}], ids=[""])
async def test_bad_requests(
    airflow: FakeAirflow,
    gateway: Gateway,
    request_: pb.CancelRequest,
    code: StatusCode,
    reason: str,
) -> None:
    """They end nothing, and say why."""
    for name in ("dag", "other"):
        dag = airflow.add(Dag(name))
        for run_id in (ours("1"), "manual__1"):
            dag.trigger(run_id, {})

    failed = await failure(gateway.stub.Cancel(request_, timeout=5))

    assert (failed.code, failed.reason) == (code, reason)
    assert {run.state for run in airflow.made} == {"queued"}


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        (faults.refused(403, "Forbidden"), StatusCode.FAILED_PRECONDITION, "AIRFLOW_DENIED"),
        (faults.database_error(), StatusCode.UNAVAILABLE, "AIRFLOW_UNAVAILABLE"),
        (faults.hanging(), StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    ],
    ids=["denied", "broken", "hanging"],
)
async def test_airflow_in_trouble(
    airflow: FakeAirflow, gateway: Gateway, fault: faults.Fault, code: StatusCode, reason: str
) -> None:
    """The error names the run."""
    airflow.add(Dag("dag")).trigger(ours("1"), {})
    airflow.faults.add(fault, Kind.PATCH_RUN)

    failed = await failure(gateway.stub.Cancel(cancellation(ours("1")), timeout=3))

    assert (failed.code, failed.reason) == (code, reason)
    assert failed.metadata == {"dag_id": "dag", "run_id": ours("1")}


async def test_an_answer_that_is_lost(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It is asked for again, and the run is ended once."""
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})
    airflow.faults.add(faults.garbled(), Kind.PATCH_RUN, times=1)

    response = await gateway.stub.Cancel(cancellation(ours("1")), timeout=5)

    assert response.run.state == pb.RUN_STATE_FAILED
    assert run.state == "failed"
    assert airflow.count(Kind.PATCH_RUN) == 2


async def _read(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass
