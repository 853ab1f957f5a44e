"""A deadline bounds the wait, and its answer arrives before the caller's own clock rings."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable
from functools import partial
from typing import Any

import grpc
import pytest
import structlog
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.edge.requests import Limits, read_invoke
from dag_inference_server.inference import open_inference_pb2_grpc as inference_rpc
from fakes.airflow import Dag, FakeAirflow, Kind, faults
from integration.gateway import Gateway
from integration.inference import infer
from integration.run_ids import ours
from integration.scraping import scrape
from integration.statuses import Failure, failure, failure_of_ours
from integration.waiting import eventually

REQUEST = pb.InvokeRequest(dag_id="dag")

WAYS = ["unary", "stream"]

_ENOUGH, _TRIES = 3, 10
"""Calls that have to get our status, of how many."""

_CROWDS = 5


def call(gateway: Gateway, way: str, timeout: float | None) -> Awaitable[Failure]:
    """A call of a DAG that does not end, until it fails."""
    if way == "unary":
        return failure(gateway.stub.Invoke(REQUEST, timeout=timeout))
    return failure(_read(gateway.stub.InvokeStream(REQUEST, timeout=timeout)))


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("milliseconds", [100, 200, 500, 1000, None])
@pytest.mark.parametrize("settings", [{"default_deadline": 0.4}], ids=[""])
async def test_our_status_arrives(
    airflow: FakeAirflow, gateway: Gateway, way: str, milliseconds: int | None
) -> None:
    """With reason, run id and state, and not the channel's own, which knows none of them.

    A call without a deadline gets the gateway's default. Some calls may be late, or their triggers:
    this machine can stand still for longer than any margin, and `make bench` has the figures.
    """
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    timeout = None if milliseconds is None else milliseconds / 1000

    named: list[Failure] = []
    for _ in range(_TRIES):
        failed = await call(gateway, way, timeout)
        assert failed.code is StatusCode.DEADLINE_EXCEEDED
        assert failed.reason in ("DEADLINE_EXCEEDED", "")
        if failed.reason and "run_id" in failed.metadata:
            named.append(failed)
        if len(named) == _ENOUGH:
            break

    assert len(named) == _ENOUGH
    made = [run.run_id for run in dag.made]
    for failed in named:
        run_id = failed.metadata["run_id"]
        assert failed.metadata == {"dag_id": "dag", "run_id": run_id, "run_state": "queued"}
        assert run_id in made
    await airflow.silence()


def _stuck(gateway: Gateway, method: str, run_id: str, timeout: float | None) -> Awaitable[object]:
    """A call of a method that waits for Airflow, of any that has a deadline."""
    this = pb.WaitRequest(dag_id="dag", run_id=run_id)
    models = inference_rpc.GRPCInferenceServiceStub(gateway.channel)
    calls: dict[str, Any] = {
        "Invoke": partial(gateway.stub.Invoke, REQUEST),
        "InvokeStream": partial(gateway.stub.InvokeStream, REQUEST),
        "Wait": partial(gateway.stub.Wait, this),
        "Watch": partial(gateway.stub.Watch, this),
        "Cancel": partial(gateway.stub.Cancel, pb.CancelRequest(dag_id="dag", run_id=run_id)),
        "ListDags": partial(gateway.stub.ListDags, pb.ListDagsRequest()),
        "ModelInfer": partial(models.ModelInfer, infer(dag_id="dag")),
    }
    under_way = calls[method](timeout=timeout)
    is_stream = isinstance(under_way, grpc.aio.UnaryStreamCall)
    return _read(under_way) if is_stream else under_way


@pytest.mark.parametrize(
    "method",
    ["Invoke", "InvokeStream", "Wait", "Watch", "Cancel", "ListDags", "ModelInfer"],
)
@pytest.mark.parametrize("settings", [{"default_deadline": 0.5, "max_deadline": 1}], ids=[""])
async def test_whose_deadline_it_was(airflow: FakeAirflow, gateway: Gateway, method: str) -> None:
    """Is told where it was not the caller's, which would look for its own in vain."""
    await gateway.ready()
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})
    for kind in (Kind.PATCH_RUN, Kind.DAGS):
        airflow.faults.add(faults.hanging(), kind)

    callers, default, most = [
        (
            await failure_of_ours(partial(_stuck, gateway, method, run.run_id, timeout))
        ).message.removeprefix("DEADLINE_EXCEEDED: ")
        for timeout in (0.8, None, 30)
    ]

    assert callers.startswith("the deadline passed ")
    assert default.startswith("the gateway's limit of 0.5 s (DEFAULT_DEADLINE) passed ")
    assert most.startswith("the gateway's limit of 1 s (MAX_DEADLINE) passed ")


@pytest.mark.parametrize("way", WAYS)
async def test_our_status_arrives_for_many_at_once(
    airflow: FakeAirflow, gateway: Gateway, way: str
) -> None:
    """Fifty calls whose deadlines pass at the same time do not keep each other's answers.

    Of some crowds a few may be late, as above.
    """
    await gateway.ready()
    dag = airflow.add(Dag("dag"))

    ours: list[Failure] = []
    for _ in range(_CROWDS):
        failures = await asyncio.gather(*(call(gateway, way, 2) for _ in range(50)))
        ours = [
            failed
            for failed in failures
            if failed.reason == "DEADLINE_EXCEEDED" and "run_id" in failed.metadata
        ]
        if len(ours) >= 40:
            break

    assert len(ours) >= 40
    named = {failed.metadata["run_id"] for failed in ours}
    assert len(named) == len(ours)
    assert named <= {run.run_id for run in dag.made}
    await airflow.silence()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("milliseconds", [1, 5, 20, 50])
async def test_less_than_a_round_trip(
    airflow: FakeAirflow, gateway: Gateway, way: str, milliseconds: int
) -> None:
    """Whichever status such a caller gets, nothing is left behind, and the next call is served."""
    await gateway.ready()
    await eventually(lambda: airflow.count(Kind.RUNS))
    dag = airflow.add(Dag("dag"))

    failed = await call(gateway, way, milliseconds / 1000)

    assert failed.code is StatusCode.DEADLINE_EXCEEDED
    await airflow.silence()
    made = len(dag.made)
    answer = asyncio.create_task(_answer(gateway))
    await eventually(lambda: len(dag.made) == made + 1)
    dag.made[-1].finish("predict", 1)
    await answer


async def _answer(gateway: Gateway) -> pb.InvokeResponse:
    return await gateway.stub.Invoke(REQUEST, timeout=10)


async def test_reading_a_large_conf_takes_its_share() -> None:
    """The wait ends before the caller's clock rings, however long its conf took to read."""
    ends = time.monotonic() + 10
    request = pb.InvokeRequest(dag_id="dag", conf_json=json.dumps({"n": [*range(400_000)]}))

    def left() -> float:
        return ends - time.monotonic()

    call = await read_invoke(request, left, Limits(300, 3600, allow_result_task_ids=True))

    assert call.patience < left()


async def test_a_deadline_that_the_gateway_misses(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller has not gone away: it counts as what the caller saw, and apart from what we said.

    Here because the event loop stands still while the deadline passes. When it goes on, our answer
    may still be sent first, to nobody; three calls seldom all end so.
    """
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    written = structlog.testing.CapturingLogger()
    monkeypatch.setattr("dag_inference_server.edge.rpc.log", written)
    loop = asyncio.get_running_loop()
    for number in range(3):
        call = asyncio.ensure_future(failure(gateway.stub.Invoke(REQUEST, timeout=0.5)))
        await eventually(partial(lambda before: len(dag.made) > before, number))
        loop.call_later(0, time.sleep, 0.6)
        failed = await call
        assert (failed.code, failed.reason) == (StatusCode.DEADLINE_EXCEEDED, "")
    await eventually(lambda: len(written.calls) == 3)
    found = await scrape(gateway)

    invoke = {"grpc_method": "Invoke", "grpc_service": "dag_inference.v1.DagInference"}
    handled = found.having("grpc_server_handled_total", **invoke)
    assert {s.labels["grpc_code"]: s.value for s in handled if s.value} == {"DeadlineExceeded": 3}
    outcomes = found.having("dag_inference_calls_total")
    counted = {s.labels["outcome"]: s.value for s in outcomes if s.value}
    assert counted.keys() <= {"DEADLINE_MISSED", "DEADLINE_EXCEEDED"}
    assert counted["DEADLINE_MISSED"] >= 1
    assert {line.kwargs["code"] for line in written.calls} == {"DEADLINE_EXCEEDED"}
    reasons = [line.kwargs["reason"] for line in written.calls]
    assert reasons.count("DEADLINE_MISSED") == counted["DEADLINE_MISSED"]
