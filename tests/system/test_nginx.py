"""Through a real nginx, with the example's configuration, a call is what it is without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from fakes.airflow import Dag, FakeAirflow
from gateway_process import environment_for, gateway_process
from integration.gateway import running, settings_for
from integration.mesh import test_through_envoy as through_envoy
from integration.mesh.going import none_is_lost
from integration.statuses import failure
from integration.waiting import first_run, never
from system.nginx import nginx

REQUEST = pb.InvokeRequest(dag_id="dag")


@pytest.fixture
def changes() -> dict[str, str]:
    """What is another in the example's configuration. A test that wants any parametrises this."""
    return {}


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings of the gateways. A test that wants others parametrises this."""
    return {}


@pytest.fixture
async def channel(
    airflow: FakeAirflow, settings: dict[str, Any], changes: dict[str, str], tmp_path: Path
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to an nginx before two gateways."""
    async with AsyncExitStack() as stack:
        ports = []
        for _ in range(2):
            gateway = await stack.enter_async_context(running(settings_for(airflow, **settings)))
            await gateway.ready()
            ports.append(gateway.serving.port)
        target = await stack.enter_async_context(nginx(ports, tmp_path, changes))
        yield await stack.enter_async_context(grpc.aio.insecure_channel(target))


test_a_result = through_envoy.test_a_result
test_a_stream = through_envoy.test_a_stream
test_health = through_envoy.test_health
test_our_word_on_a_deadline_arrives = through_envoy.test_our_word_on_a_deadline_arrives
test_a_caller_that_goes_away = through_envoy.test_a_caller_that_goes_away


IDLE = {"grpc_read_timeout 60s": "grpc_read_timeout 1s"}


@pytest.mark.parametrize("settings", [{"heartbeat_interval": 0.2}])
@pytest.mark.parametrize("changes", [IDLE], ids=[""])
async def test_a_quiet_stream_stays_open(airflow: FakeAirflow, channel: grpc.aio.Channel) -> None:
    """Longer than nginx waits for a gateway to say something, because of its heartbeats."""
    await through_envoy.test_a_quiet_stream_stays_open(airflow, channel)


SHORT = {
    "client_max_body_size 16m;": (
        "client_max_body_size 1k; client_body_timeout 1s; grpc_send_timeout 1s;"
    )
}


@pytest.mark.parametrize("changes", [SHORT], ids=[""])
async def test_a_stream_of_requests_has_no_end(
    airflow: FakeAirflow, channel: grpc.aio.Channel
) -> None:
    """Neither of its length nor of its caller's silence, unlike a call."""
    await through_envoy.test_a_model(airflow, channel)


@pytest.mark.parametrize("settings", [{"heartbeat_interval": 60}])
@pytest.mark.parametrize("changes", [IDLE], ids=[""])
async def test_a_stream_without_heartbeats_does_not(
    airflow: FakeAirflow, channel: grpc.aio.Channel
) -> None:
    """`HEARTBEAT_INTERVAL` has to be the shorter one.

    Beside other calls of the same connection, nginx tells the caller only with the next word on it.
    """
    airflow.add(Dag("dag"))
    stub = rpc.DagInferenceStub(channel)
    failed = await failure(through_envoy.read(stub.InvokeStream(REQUEST, timeout=30)))
    assert (failed.code, failed.reason) == (grpc.StatusCode.INTERNAL, "")


@pytest.mark.parametrize("changes", [IDLE], ids=[""])
async def test_a_call_without_a_stream_may_be_quiet(
    airflow: FakeAirflow, channel: grpc.aio.Channel
) -> None:
    """For longer than a stream may: until its answer."""
    dag = airflow.add(Dag("dag"))
    call = rpc.DagInferenceStub(channel).Invoke(REQUEST, timeout=30)
    run = await first_run(dag)

    await never(call.done, within=1.5)
    run.finish("predict", "patient")

    assert MessageToDict((await call).result) == {"return_value": "patient"}


async def test_the_longest_error(airflow: FakeAirflow, channel: grpc.aio.Channel) -> None:
    """Arrives with all of its details, which nginx wants to hold as a whole."""
    names = [f"{number}{'P' * 95}" for number in range(12)]
    choice = {"value": "a", "schema": {"enum": ["a", "X" * 220]}}
    airflow.add(Dag("dag", params=dict.fromkeys(names, choice)))
    request = pb.InvokeRequest(dag_id="dag")
    request.conf.update(dict.fromkeys(names, 1))

    failed = await failure(rpc.DagInferenceStub(channel).Invoke(request, timeout=10))

    assert failed.reason == "CONF_INVALID"
    assert len(failed.violations) == 10


@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL"])
async def test_one_that_goes_loses_no_call_of_our_client(
    airflow: FakeAirflow, tmp_path: Path, way: str
) -> None:
    """Nginx looks at no health: what is refused or cut off begins or goes on at the other."""
    async with (
        running(settings_for(airflow)) as stays,
        gateway_process(environment_for(airflow, SHUTDOWN_GRACE="2")) as goes,
        nginx([goes.port, stays.serving.port], tmp_path) as target,
    ):
        await none_is_lost(airflow, goes, target, way)
