"""A gateway that is killed with calls in flight loses nothing: all state is Airflow's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference import AsyncDagInferenceClient
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from fakes.airflow import Dag, FakeAirflow, Kind, Run, faults
from gateway_process import GatewayProcess, environment_for, gateway_process
from integration.early import run_id_of, started
from integration.waiting import eventually

PARKED = 60
STREAMS = 20
AT_THE_TRIGGER = 20
CALLS = PARKED + STREAMS + AT_THE_TRIGGER
PATIENCE = 100
"""Seconds for a call and the gateways that start meanwhile, on however busy a machine."""

TRIGGERS_AT_ONCE = 4
"""Half of the connections to Airflow; the others' triggers wait in the gateway."""


@pytest.fixture
async def process(airflow: FakeAirflow) -> AsyncIterator[GatewayProcess]:
    """A gateway in a process of its own."""
    environment = environment_for(airflow, SHUTDOWN_GRACE="0")
    async with gateway_process(environment) as process:
        yield process


def request(number: int) -> pb.InvokeRequest:
    """One of many calls: those of `late` hang in the trigger."""
    dag_id = "late" if number >= PARKED + STREAMS else "dag"
    made = pb.InvokeRequest(dag_id=dag_id, request_id=f"call-{number}")
    made.conf.update({"n": number})
    return made


def finish(run: Run) -> None:
    """A run returns its own conf."""
    run.finish("predict", run.conf)
    run.end("success")


async def test_killed_with_calls_in_flight(airflow: FakeAirflow, process: GatewayProcess) -> None:
    """Every caller gets UNAVAILABLE, and at the next gateway the result of its own one run.

    Some have their run id and wait, some hang in the trigger, some have not been triggered.
    """
    dag, late = airflow.add(Dag("dag")), airflow.add(Dag("late", script=[finish]))
    release = asyncio.Event()
    airflow.faults.add(faults.held_until(release), Kind.TRIGGER, dag_id="late")
    async with grpc.aio.insecure_channel(process.target) as channel:
        stub = rpc.DagInferenceStub(channel)
        calls: list[Any] = [started(channel, request(n)) for n in range(PARKED)]
        calls += [stub.InvokeStream(request(n)) for n in range(PARKED, PARKED + STREAMS)]
        run_ids = [await run_id_of(call) for call in calls]
        calls += [started(channel, request(n)) for n in range(PARKED + STREAMS, CALLS)]
        await eventually(lambda: airflow.count(Kind.TRIGGER) == len(run_ids) + TRIGGERS_AT_ONCE)
        assert not late.made

        await process.kill()

        codes = await asyncio.gather(*(call.code() for call in calls))
    assert codes == [grpc.StatusCode.UNAVAILABLE] * CALLS
    # Airflow goes on without it: runs end, and triggers are done that nobody waits for.
    for run in dag.made:
        finish(run)
    release.set()
    await eventually(lambda: len(late.made) == TRIGGERS_AT_ONCE)
    await process.start()

    async with AsyncDagInferenceClient(process.target) as client:
        waited = await asyncio.gather(
            *(client.wait("dag", run, timeout=PATIENCE) for run in run_ids)
        )
        invoked = await asyncio.gather(*(_again(client, number) for number in range(CALLS)))

    assert [result.value for result in waited] == [{"n": n} for n in range(PARKED + STREAMS)]
    assert [result.value for result in invoked] == [{"n": n} for n in range(CALLS)]
    assert [result.run.run_id for result in invoked[: len(run_ids)]] == run_ids
    assert len(airflow.made) == len({run.run_id for run in airflow.made}) == CALLS


async def test_killed_again_and_again(airflow: FakeAirflow, process: GatewayProcess) -> None:
    """Calls of the client library outlive gateways that are killed under them."""
    dag, known = airflow.add(Dag("dag")), set[str]()
    async with AsyncDagInferenceClient(process.target) as client:
        calls = [asyncio.create_task(_again(client, number, known.add)) for number in range(20)]
        # One that is cut off before has nothing to come back to.
        await eventually(lambda: len(known) == 20)
        for _ in range(2):
            await process.kill()
            back = airflow.count(Kind.RUN) + len(calls)
            await process.start()
            # Each begins with a look at its run, and then is told that it is there.
            await eventually(lambda: airflow.count(Kind.RUN) >= back)  # noqa: B023
            await airflow.polls(3)
        for run in dag.made:
            finish(run)
        results = await asyncio.gather(*calls)

    assert [result.value for result in results] == [{"n": n} for n in range(20)]
    assert len(airflow.made) == 20


async def _again(
    client: AsyncDagInferenceClient, number: int, on_run: Callable[[str], object] | None = None
) -> Any:
    asked = request(number)
    conf: Mapping[str, Any] = {key: int(n) for key, n in MessageToDict(asked.conf).items()}
    return await client.call(
        asked.dag_id, conf, request_id=asked.request_id, timeout=PATIENCE, on_run=on_run
    )
