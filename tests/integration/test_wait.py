"""Coming back to a run that exists."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults, steps
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.statuses import failure, failure_of_ours
from integration.waiting import eventually


def come_back(run_id: str, dag_id: str = "dag") -> pb.WaitRequest:
    """A request."""
    return pb.WaitRequest(dag_id=dag_id, run_id=run_id)


async def test_during_the_run_and_after_it(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Wait answers as Invoke would have, while the run goes on and when it has ended."""
    run = airflow.add(Dag("dag")).trigger(ours("by-another-replica"), {})
    waiting = asyncio.create_task(_wait(gateway, run.run_id))
    await eventually(lambda: airflow.count(Kind.INSTANCES) > 2)
    run.finish("predict", {"a": 1})
    run.end("success")

    during, after = await waiting, await _wait(gateway, run.run_id)

    assert MessageToDict(during.result) == {"a": 1}
    assert during.result == after.result
    assert after.run.state == pb.RUN_STATE_SUCCESS
    assert airflow.count(Kind.TRIGGER) == 0


async def test_watch(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Watch shows where the run stands, and each step from there on."""
    tasks = Task("load", downstream=["predict"]), Task("predict")
    run = airflow.add(Dag("dag", *tasks)).trigger(ours("by-another-replica"), {})
    run.finish("load")
    events = gateway.stub.Watch(come_back(run.run_id), timeout=10).__aiter__()

    accepted = (await anext(events)).accepted
    assert accepted.attached
    assert accepted.run.state == pb.RUN_STATE_RUNNING
    assert (await anext(events)).task_instance.task_id == "load"
    run.finish("predict", 1)
    assert MessageToDict([event async for event in events][-1].result.result) == {"return_value": 1}


async def test_failed_run(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A run that failed while nobody waited fails the call that comes back to it."""
    run = airflow.add(Dag("dag", is_paused=True)).trigger(ours("by-another-replica"), {})
    for step in (steps.fail("predict"), steps.end("failed")):
        step(run)

    failed = await failure(_wait(gateway, run.run_id))

    assert (failed.code, failed.reason) == (StatusCode.ABORTED, "TASK_FAILED")
    assert failed.metadata["run_id"] == run.run_id


@pytest.mark.parametrize(
    ("dag_id", "run_id", "code", "reason", "asks"),
    [
        ("dag", ours("0"), "NOT_FOUND", "RUN_NOT_FOUND", True),
        ("dag", "scheduled__2026-01-01", "FAILED_PRECONDITION", "RUN_NOT_OURS", False),
        ("payroll", ours("0"), "PERMISSION_DENIED", "DAG_NOT_ALLOWED", False),
        ("dag", "", "INVALID_ARGUMENT", "REQUEST_INVALID", False),
        ("dag", "~", "FAILED_PRECONDITION", "RUN_NOT_OURS", False),
        ("dag", "..", "INVALID_ARGUMENT", "REQUEST_INVALID", False),
        ("dag", "grpc-/../x", "INVALID_ARGUMENT", "REQUEST_INVALID", False),
        ("dag", "grpc-%2f", "INVALID_ARGUMENT", "REQUEST_INVALID", False),
        ("dag", "grpc-0\n", "INVALID_ARGUMENT", "REQUEST_INVALID", False),
        ("~", ours("0"), "INVALID_ARGUMENT", "REQUEST_INVALID", False),
    ],
)
@pytest.mark.parametrize("settings", [{"dags": ("dag",)}], ids=[""])
async def test_errors(  # noqa: PLR0917 - pytest passes by name
    airflow: FakeAirflow,
    gateway: Gateway,
    dag_id: str,
    run_id: str,
    code: str,
    reason: str,
    asks: bool,
) -> None:
    """No such run, somebody else's run, a DAG that is not served, ids with tricks in them."""
    airflow.add(Dag("dag"))

    failed = await failure(gateway.stub.Wait(come_back(run_id, dag_id), timeout=5))

    assert (failed.code.name, failed.reason) == (code, reason)
    assert failed.resource == (("run", run_id) if reason == "RUN_NOT_FOUND" else None)
    assert any(asked.is_of_a_dag for asked in airflow.asked) == asks


async def test_airflow_is_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Every error names the run that was asked for, also before Airflow has told of it."""
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})
    airflow.faults.add(faults.database_error(), Kind.RUN)
    away = await failure(gateway.stub.Wait(come_back(run.run_id), timeout=20))
    airflow.faults.add(faults.hanging(), Kind.RUN)
    late = await failure_of_ours(lambda: gateway.stub.Wait(come_back(run.run_id), timeout=0.5))

    assert (away.reason, late.reason) == ("AIRFLOW_UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert away.metadata["run_id"] == late.metadata["run_id"] == run.run_id


async def _wait(gateway: Gateway, run_id: str) -> pb.InvokeResponse:
    return await gateway.stub.Wait(come_back(run_id), timeout=10)
