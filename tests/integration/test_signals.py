"""What signals do to the process: it ends in order, in time, and with exit code 0."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from fakes.airflow import Dag, FakeAirflow
from gateway_process import GatewayProcess, environment_for, gateway_process
from integration.statuses import failure
from integration.waiting import eventually

CALLS = 1000


@pytest.fixture
async def process(airflow: FakeAirflow, grace: str) -> AsyncIterator[GatewayProcess]:
    """A gateway in a process of its own."""
    environment = environment_for(airflow, SHUTDOWN_GRACE=grace)
    async with gateway_process(environment) as process:
        yield process


@pytest.mark.parametrize("grace", ["5"])
async def test_each_of_a_thousand_calls_is_told(
    airflow: FakeAirflow, process: GatewayProcess
) -> None:
    """Those whose results come within the grace get them, the others where they go on."""
    dag = airflow.add(Dag("dag"))
    async with grpc.aio.insecure_channel(process.target) as channel:
        stub: Any = rpc.DagInferenceStub(channel)
        request = pb.InvokeRequest(dag_id="dag")
        calls = [
            asyncio.ensure_future(_ends(stub.Invoke(request, timeout=120))) for _ in range(CALLS)
        ]
        await eventually(lambda: len(dag.made) == CALLS, 60)
        await airflow.polls(3)

        process.signal()
        for run in dag.made[::2]:
            run.finish("predict", run.run_id)
        told = await asyncio.gather(*calls)

    assert await process.ended() == 0
    assert {run_id for run_id, _ in told} == {run.run_id for run in dag.made}
    reasons = dict(told)
    # As many as the machine manages within the grace.
    assert "OK" in {reasons[run.run_id] for run in dag.made[::2]} <= {"OK", "SHUTTING_DOWN"}
    assert {reasons[run.run_id] for run in dag.made[1::2]} == {"SHUTTING_DOWN"}


@pytest.mark.parametrize("grace", ["600"])
async def test_a_second_signal_hurries_it(airflow: FakeAirflow, process: GatewayProcess) -> None:
    """It still tells the calls in flight where they go on, and exits with 0."""
    dag = airflow.add(Dag("dag"))
    async with grpc.aio.insecure_channel(process.target) as channel:
        stub: Any = rpc.DagInferenceStub(channel)
        call = asyncio.ensure_future(_ends(stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=90)))
        await eventually(lambda: dag.made)
        await airflow.polls(2)
        process.signal()
        while await _reason(stub) != "SHUTTING_DOWN":
            pass

        process.signal()

        assert await call == (dag.made[0].run_id, "SHUTTING_DOWN")
    assert await process.ended() == 0


async def _ends(call: Any) -> tuple[str, str]:
    """The run id of a call, and how it ended."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        failed = await failure(_raise(error))
        return failed.metadata["run_id"], failed.reason
    return answer.run.run_id, "OK"


async def _reason(stub: Any) -> str:
    """Why a call of a DAG that does not exist is refused just now."""
    call = stub.Invoke(pb.InvokeRequest(dag_id="nowhere"), timeout=5)
    return (await failure(call)).reason


async def _raise(error: Exception) -> None:
    raise error
