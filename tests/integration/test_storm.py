"""Exactly one run for each call, while a fifth of all requests to Airflow goes wrong."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from dag_inference import AsyncDagInferenceClient
from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Run, faults
from integration.gateway import Gateway
from integration.statuses import Failure, failure

AT_ONCE = 100
PATIENCE = 20
CODED = {
    (StatusCode.UNAVAILABLE, "AIRFLOW_UNAVAILABLE"),
    (StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
}
"""What a call may be told that a storm keeps from its result."""


def echo(run: Run) -> None:
    """A run returns its own conf."""
    assert run.conf is not None
    run.finish("predict", run.conf)
    run.end("success")


def request(number: int) -> pb.InvokeRequest:
    """One of many calls, none like another."""
    made = pb.InvokeRequest(dag_id="dag", request_id=f"call-{number}")
    made.conf.update({"n": number})
    return made


@pytest.mark.parametrize("settings", [{"poll_interval_old": 0.5}], ids=[""])
@pytest.mark.parametrize(("calls", "share"), [(1000, 0.2), (100, 0.6)])
async def test_one_run_for_each_call(
    airflow: FakeAirflow, gateway: Gateway, calls: int, share: float
) -> None:
    """So many calls make so many runs: each has its answer, or an error of the contract.

    Who got an error and repeats the call with its `request_id` has the answer then.
    """
    await gateway.ready()
    dag = airflow.add(Dag("dag", script=[echo]))
    storm = faults.Storm(share, seed=20)
    airflow.faults.add(storm)
    turn = asyncio.Semaphore(AT_ONCE)

    async def call(number: int) -> pb.InvokeResponse | Failure:
        async with turn:
            answer = gateway.stub.Invoke(request(number), timeout=PATIENCE)
            if await answer.code() is not StatusCode.OK:
                return await failure(answer)
            return await answer

    answers = await asyncio.gather(*map(call, range(calls)))
    failed = {n: answer for n, answer in enumerate(answers) if isinstance(answer, Failure)}
    runs: dict[int, str] = {}
    for number, answer in enumerate(answers):
        if isinstance(answer, pb.InvokeResponse):
            assert MessageToDict(answer.result) == {"n": number}
            runs[number] = answer.run.run_id

    assert set(storm.met) == set(faults.PASSING)
    assert {(f.code, f.reason) for f in failed.values()} <= CODED
    # In the heavy storm some have to fail, or nothing is said of those that do.
    assert failed or share < 0.5
    async with AsyncDagInferenceClient(f"127.0.0.1:{gateway.serving.port}") as client:

        async def repeat(number: int) -> None:
            result = await client.call(
                "dag", {"n": number}, request_id=f"call-{number}", timeout=PATIENCE
            )
            assert result.value == {"n": number}
            runs[number] = result.run.run_id

        await asyncio.gather(*map(repeat, failed))
    for number, error in failed.items():
        assert error.metadata.get("run_id", runs[number]) == runs[number]

    assert len(dag.made) == len(set(runs.values())) == calls
    assert Counter(run.run_id for run in dag.made) == Counter(runs.values())
    await airflow.silence()
