"""Peers that come and then do nothing: others are served, and a gateway that goes is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from fakes.airflow import Dag, FakeAirflow, steps
from fakes.http2 import PREFACE, taking_nothing
from gateway_process import GatewayProcess, environment_for, gateway_process
from integration.gateway import Gateway
from integration.inference import infer, tensor
from integration.inference import stub as inference
from integration.run_ids import ours
from integration.scraping import scrape
from integration.statuses import failure

QUICK = pb.InvokeRequest(dag_id="quick")
STREAMS, WATCHES, BARE = 2000, 1000, 200


async def test_thousands_of_idle_streams(airflow: FakeAirflow) -> None:
    """And hundreds of connections without any: calls are answered, and a drain ends them all."""
    run = airflow.add(Dag("parked")).trigger(ours("1"), {})
    airflow.add(Dag("quick", script=[steps.finish("predict", 1)]))
    this = pb.WaitRequest(dag_id="parked", run_id=run.run_id).SerializeToString()
    async with (
        gateway_process(environment_for(airflow, SHUTDOWN_GRACE="1")) as process,
        grpc.aio.insecure_channel(process.target) as channel,
        AsyncExitStack() as peers,
    ):
        stub: Any = rpc.DagInferenceStub(channel)
        await stub.Invoke(QUICK, timeout=30)
        for number in range(BARE):
            _, writer = await asyncio.open_connection("127.0.0.1", process.port)
            peers.callback(writer.close)
            writer.write(PREFACE if number % 2 else b"")
        watch = "/dag_inference.v1.DagInference/Watch"
        infer = "/inference.GRPCInferenceService/ModelStreamInfer"
        for path, request, times in ((watch, this, WATCHES), (infer, None, STREAMS)):
            idle = taking_nothing(process.port, path, request=request, times=times)
            await peers.enter_async_context(idle)
        await _begun(process, "ModelStreamInfer", STREAMS)

        answers = await asyncio.gather(*(stub.Invoke(QUICK, timeout=30) for _ in range(20)))
        counted = await scrape(process.metrics_port)
        process.signal()

        assert await process.ended() == 0
    assert [MessageToDict(answer.result) for answer in answers] == [{"return_value": 1}] * 20
    ended = "grpc_server_handled_total"
    assert (
        counted(ended, grpc_method="Watch") == counted(ended, grpc_method="ModelStreamInfer") == 0
    )


@pytest.mark.parametrize("settings", [{"max_calls": 2}])
@pytest.mark.parametrize("service", ["models", "health"])
async def test_only_so_many_streams(airflow: FakeAirflow, gateway: Gateway, service: str) -> None:
    """One more is refused like a call; when one has ended, there is a place."""
    await gateway.ready()
    first, second = [await _opened(gateway, service) for _ in range(2)]

    failed = await failure(_opened(gateway, service))
    first.cancel()
    async with asyncio.timeout(10):
        third = None
        while third is None:
            with suppress(grpc.aio.AioRpcError):
                third = await _opened(gateway, service)

    assert (failed.code, failed.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert failed.message.startswith("there are 2 ")
    assert failed.message.endswith(", which is the limit (MAX_CALLS)")
    assert failed.retry_after is not None
    assert failed.retry_after >= timedelta(seconds=1)
    assert not second.done()


async def _begun(process: GatewayProcess, method: str, times: int) -> None:
    """Wait until a method has been called so often."""
    name = "grpc_server_started_total"
    async with asyncio.timeout(60):
        while (await scrape(process.metrics_port))(name, grpc_method=method) < times:
            pass


async def _opened(gateway: Gateway, service: str) -> Any:
    """A stream of health, or of models, that has had its first answer."""
    if service == "health":
        health: Any = health_pb2_grpc.HealthStub(gateway.channel)
        call = health.Watch(health_pb2.HealthCheckRequest())
    else:
        call = inference(gateway).ModelStreamInfer(_bad_one_and_no_more(), timeout=60)
    assert await call.read() is not grpc.aio.EOF
    return call


async def _bad_one_and_no_more() -> AsyncIterator[Any]:
    yield infer(tensor("x", "FP8", [1]))
    await asyncio.Event().wait()
