"""One of two gateways behind Envoy goes away, under load: no call is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from fakes.airflow import Dag, FakeAirflow
from gateway_process import GatewayProcess
from integration.gateway import Gateway
from integration.mesh.envoy import Envoy, envoy
from integration.mesh.going import none_is_lost
from integration.mesh.load import load, takes_a_while


@pytest.fixture
async def proxy(goes: GatewayProcess, gateway: Gateway, tmp_path: Path) -> AsyncIterator[Envoy]:
    """Envoy, with the configuration of the examples, before that one and one that stays."""
    await gateway.ready()
    async with envoy([goes.port, gateway.serving.port], tmp_path) as proxy:
        await proxy.serve(2)
        yield proxy


async def test_told_to_end_it_loses_no_call_of_the_simplest_caller(
    airflow: FakeAirflow, goes: GatewayProcess, gateway: Gateway, proxy: Envoy
) -> None:
    """One that repeats nothing: Envoy has noticed before the gateway refuses anything."""
    dag = airflow.add(Dag("dag", script=[takes_a_while]))
    async with grpc.aio.insecure_channel(proxy.target) as channel:
        stub = rpc.DagInferenceStub(channel)

        async def call(number: int) -> None:
            request = pb.InvokeRequest(dag_id="dag")
            request.conf.update({"n": number})
            answer = await stub.Invoke(request, timeout=30)
            assert MessageToDict(answer.result) == {"n": number}

        async with load(call) as told:
            await told.more(40)
            assert await proxy.active(goes.port) > 0
            goes.signal()
            assert await goes.ended() == 0
            await told.more(40)
            assert await proxy.serving() == {gateway.serving.port}

    assert told.lost == []
    assert len(dag.made) == told.answered


@pytest.mark.parametrize("delay", ["0"])
@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL"])
async def test_however_it_ends_it_loses_no_call_of_our_client(
    airflow: FakeAirflow, goes: GatewayProcess, proxy: Envoy, way: str
) -> None:
    """With no delay, or killed: what is refused or cut off begins or goes on at the other."""

    async def is_used() -> None:
        assert await proxy.active(goes.port) > 5

    await none_is_lost(airflow, goes, proxy.target, way, under_load=is_used)
