"""Connections: the gateway sees when one is gone, lets none grow too old, and bears odd peers."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

from collector import collecting, traced
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from fakes.airflow import Dag, FakeAirflow, steps
from fakes.pump import pump_to
from integration.gateway import Gateway, running, settings_for
from integration.statuses import failure
from integration.waiting import eventually, first_run

REQUEST = pb.InvokeRequest(dag_id="dag")

SERVICE = "dag_inference.v1.DagInference"
ODD_PATHS = [
    *("", "/", "//", "Invoke", "/Invoke", f"/{SERVICE}", f"/{SERVICE}/"),
    *(f"{SERVICE}/Invoke", f"//{SERVICE}/Invoke", f"/{SERVICE}//Invoke", f"/{SERVICE}/Invoke/"),
    *(
        f"/{SERVICE}/invoke",
        f"/{SERVICE}/Invoke?",
        f"/{SERVICE}/%49nvoke",
        f"/{SERVICE}/Inv\u00f6ke",
    ),
    *(f"/{SERVICE}/../{SERVICE}/Invoke", f"/{SERVICE}/__init__", f"/{SERVICE}/{'a' * 5000}"),
]


@pytest.mark.parametrize("settings", [{"keepalive_interval": 1, "keepalive_timeout": 1}])
async def test_a_caller_whose_machine_is_gone(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is one that went away, though its connection was never closed."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    request = pb.InvokeRequest(dag_id="dag", on_disconnect=pb.ON_DISCONNECT_CANCEL)
    async with (
        pump_to(gateway.serving.port) as pump,
        grpc.aio.insecure_channel(pump.address) as channel,
    ):
        call = rpc.DagInferenceStub(channel).Invoke(request, timeout=300)
        run = await first_run(dag)
        await airflow.polls(2)
        pump.freeze()

        await eventually(lambda: run.state == "failed")
        call.cancel()


@pytest.mark.parametrize("settings", [{"max_connection_age": 1}])
async def test_an_old_connection(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is given up for a new one, and the call that is on it goes on to its end."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    airflow.add(Dag("quick", script=[steps.finish("predict", 1)]))
    async with (
        pump_to(gateway.serving.port) as pump,
        grpc.aio.insecure_channel(pump.address) as channel,
    ):
        stub = rpc.DagInferenceStub(channel)
        call = stub.Invoke(REQUEST, timeout=60)
        run = await first_run(dag)
        async with asyncio.timeout(30):
            while pump.connections < 3:
                await stub.Invoke(pb.InvokeRequest(dag_id="quick"), timeout=10)
        assert not call.done()
        run.finish("predict", "still there")

        assert MessageToDict((await call).result) == {"return_value": "still there"}


@pytest.mark.parametrize("settings", [{"client_keepalive_interval": 0.1}])
async def test_a_client_that_asks_often_for_signs_of_life(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """Is not thrown out for it, as gRPC's own default has it."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    options = [
        ("grpc.keepalive_time_ms", 300),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with (
        pump_to(gateway.serving.port) as pump,
        grpc.aio.insecure_channel(pump.address, options) as channel,
    ):
        call = rpc.DagInferenceStub(channel).Invoke(REQUEST, timeout=60)
        run = await first_run(dag)
        await airflow.polls(2)
        before = pump.pieces
        # Five times what gRPC's default bears.
        await eventually(lambda: pump.pieces > before + 10)
        run.finish("predict", 1)

        assert MessageToDict((await call).result) == {"return_value": 1}
        assert pump.connections == 1


async def test_too_much_metadata(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is refused by gRPC itself; the next call on the connection is served."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    fits = [("x-something", "a" * 8_000)]
    await gateway.stub.Invoke(REQUEST, timeout=5, metadata=fits)

    failed = await failure(
        gateway.stub.Invoke(REQUEST, timeout=5, metadata=[("x-something", "a" * 100_000)])
    )
    answer = await gateway.stub.Invoke(REQUEST, timeout=5)

    assert failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert MessageToDict(answer.result) == {"return_value": 1}


@pytest.mark.parametrize("settings", [{"channelz": True}])
async def test_calls_are_taken_in_side_by_side(gateway: Gateway) -> None:
    """Those of some connections do not wait until those of others are taken in."""
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        for _ in range(32):
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{gateway.serving.port}", own_connection)
            await stack.enter_async_context(channel)
            await failure(rpc.DagInferenceStub(channel).Invoke(pb.InvokeRequest(), timeout=5))

    ours: Any = gateway.channel
    stub = channelz_pb2_grpc.ChannelzStub(ours)
    servers = (await stub.GetServers(channelz_pb2.GetServersRequest())).server

    started = [server.data.calls_started for server in servers]
    assert sum(started) == 33
    assert sum(calls > 0 for calls in started) > 2


@pytest.mark.parametrize("settings", [{"max_calls": 4, "max_pending_calls": 5}])
async def test_a_gateway_that_is_far_behind(airflow: FakeAirflow, gateway: Gateway) -> None:
    """What is more than gRPC may keep is cancelled, and makes no run; the rest has an answer."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    await gateway.stub.Invoke(REQUEST, timeout=30)

    burst = [gateway.stub.Invoke(REQUEST, timeout=30) for _ in range(300)]
    codes = Counter([await call.code() for call in burst])

    told = {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes.keys() - told == {grpc.StatusCode.CANCELLED}
    # The first of them.
    assert codes[grpc.StatusCode.OK] >= 4
    assert len(dag.made) == 1 + codes[grpc.StatusCode.OK]
    await gateway.stub.Invoke(REQUEST, timeout=30)


@pytest.mark.parametrize("settings", [{"max_request_bytes": 2**20}])
async def test_messages_that_are_far_too_large(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Are refused by gRPC itself; others on the connection are served, meanwhile and after."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with (
        pump_to(gateway.serving.port) as pump,
        grpc.aio.insecure_channel(pump.address) as channel,
    ):
        stub = rpc.DagInferenceStub(channel)
        ask: Any = channel.unary_unary("/dag_inference.v1.DagInference/Invoke")
        large = [failure(ask(bytes(2 * 2**20 + 1), timeout=20)) for _ in range(5)]
        meanwhile = [stub.Invoke(REQUEST, timeout=20) for _ in range(5)]
        refused = await asyncio.gather(*large)
        answers = [*await asyncio.gather(*meanwhile), await stub.Invoke(REQUEST, timeout=20)]

        assert pump.connections == 1
    assert {(each.code, each.reason) for each in refused} == {
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
    }
    assert [MessageToDict(answer.result) for answer in answers] == [{"return_value": 1}] * 6


@pytest.mark.parametrize("traces", [False, True], ids=["", "traced"])
async def test_paths_that_lead_nowhere(airflow: FakeAirflow, traces: bool) -> None:
    """However odd, each is told so, and the next call on the connection is served."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with (
        collecting() as (_, endpoint),
        running(settings_for(airflow, otlp_endpoint=endpoint if traces else None)) as gateway,
        pump_to(gateway.serving.port) as pump,
        grpc.aio.insecure_channel(pump.address) as channel,
    ):
        stub, codes = rpc.DagInferenceStub(channel), {}
        for path in ODD_PATHS:
            ask: Any = channel.unary_unary(path)
            codes[path] = (await failure(ask(b"", timeout=10, metadata=traced()))).code
            await stub.Invoke(REQUEST, timeout=10)

        assert codes == dict.fromkeys(ODD_PATHS, grpc.StatusCode.UNIMPLEMENTED)
        assert pump.connections == 1
