"""Through a real Envoy, with the example's configuration, a call is what it is without."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from dag_inference_server.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.early import run_id_of, started
from integration.inference import echo, infer, tensor, values
from integration.mesh.envoy import Envoy
from integration.statuses import Failure, failure
from integration.waiting import eventually, first_run, never

REQUEST = pb.InvokeRequest(dag_id="dag")


async def read(stream: Any, most: int | None = None) -> list[str]:
    """The kinds of all events that are still to come, or of so many."""
    kinds: list[str] = []
    while len(kinds) != most and (event := await stream.read()) is not grpc.aio.EOF:
        kinds.append(event.WhichOneof("event"))
    return kinds


async def test_a_result(airflow: FakeAirflow, channel: grpc.aio.Channel) -> None:
    """Arrives, and the run id before it."""
    dag = airflow.add(Dag("dag"))
    call = started(channel, REQUEST, timeout=30)

    run_id = await run_id_of(call)
    assert [run.run_id for run in dag.made] == [run_id]
    dag.made[0].finish("predict", {"label": "setosa"})
    (answer,) = [answer async for answer in call]

    assert MessageToDict(answer.result) == {"label": "setosa"}


async def test_a_stream(airflow: FakeAirflow, channel: grpc.aio.Channel) -> None:
    """Each event arrives when it happens."""
    dag = airflow.add(Dag("dag"))
    stream: Any = rpc.DagInferenceStub(channel).InvokeStream(REQUEST, timeout=30)

    assert await read(stream, 1) == ["accepted"]
    dag.made[0].start()
    assert await read(stream, 1) == ["run"]
    dag.made[0].finish("predict", 1)
    assert (await read(stream))[-1] == "result"


async def test_health(channel: grpc.aio.Channel) -> None:
    """Of one of the gateways, by any of its names."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    for name in ("", "dag_inference.v1.DagInference"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("way", ["unary", "stream"])
async def test_our_word_on_a_deadline_arrives(
    airflow: FakeAirflow, channel: grpc.aio.Channel, way: str
) -> None:
    """With the run id: Envoy has no clock of its own, and hands the caller's on.

    Of five calls two may be late, as without a proxy.
    """
    dag = airflow.add(Dag("dag"))
    stub = rpc.DagInferenceStub(channel)

    async def fail() -> Failure:
        if way == "unary":
            return await failure(stub.Invoke(REQUEST, timeout=0.5))
        return await failure(read(stub.InvokeStream(REQUEST, timeout=0.5)))

    failures = [await fail() for _ in range(5)]

    assert {failed.code for failed in failures} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    ours = [failed for failed in failures if failed.reason == "DEADLINE_EXCEEDED"]
    assert len(ours) >= 3
    named = {failed.metadata["run_id"] for failed in ours if "run_id" in failed.metadata}
    assert named
    assert named <= {run.run_id for run in dag.made}


@pytest.mark.parametrize("way", ["unary", "stream"])
async def test_a_caller_that_goes_away(
    airflow: FakeAirflow, channel: grpc.aio.Channel, way: str
) -> None:
    """Is noticed by the gateway at once: `on_disconnect = CANCEL` ends the run."""
    dag = airflow.add(Dag("dag"))
    request = pb.InvokeRequest(dag_id="dag", on_disconnect=pb.ON_DISCONNECT_CANCEL)
    stub = rpc.DagInferenceStub(channel)
    call = stub.Invoke(request) if way == "unary" else stub.InvokeStream(request)
    if way == "stream":
        assert await read(call, 1) == ["accepted"]
    run = await first_run(dag)
    await airflow.polls(2)
    assert run.state == "queued"

    call.cancel()

    await eventually(lambda: run.state == "failed")


async def test_a_model(airflow: FakeAirflow, channel: grpc.aio.Channel) -> None:
    """A DAG is called as a model, one by one and in a stream that waits in between."""
    airflow.add(echo())
    stub: Any = GRPCInferenceServiceStub(channel)
    x = tensor("x", "BYTES", [1], bytes_contents=[b"x" * 700])

    assert values(await stub.ModelInfer(infer(x), timeout=30)) == {"x": ["x" * 700]}
    stream = stub.ModelStreamInfer(timeout=30)
    for name in ("first", "second"):
        await stream.write(infer(x, id=name))
        answer = (await stream.read()).infer_response
        assert (answer.id, values(answer)) == (name, {"x": ["x" * 700]})
        await never(stream.done, within=1.5)
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


IDLE = {"idle_timeout: 60s": "idle_timeout: 1s"}


@pytest.mark.parametrize("settings", [{"heartbeat_interval": 0.2}])
@pytest.mark.parametrize("changes", [IDLE], ids=[""])
async def test_a_quiet_stream_stays_open(airflow: FakeAirflow, channel: grpc.aio.Channel) -> None:
    """Longer than Envoy lets a stream be idle, because of its heartbeats."""
    dag = airflow.add(Dag("dag"))
    stream: Any = rpc.DagInferenceStub(channel).InvokeStream(REQUEST, timeout=30)

    assert await read(stream, 12) == ["accepted", *["heartbeat"] * 11]
    dag.made[0].finish("predict", 1)
    assert (await read(stream))[-1] == "result"


@pytest.mark.parametrize("settings", [{"heartbeat_interval": 60}])
@pytest.mark.parametrize("changes", [IDLE], ids=[""])
async def test_a_stream_without_heartbeats_does_not(
    airflow: FakeAirflow, channel: grpc.aio.Channel
) -> None:
    """`HEARTBEAT_INTERVAL` has to be the shorter one. A unary call may be quiet all the same."""
    dag = airflow.add(Dag("dag"))
    stub = rpc.DagInferenceStub(channel)
    unary = asyncio.ensure_future(stub.Invoke(REQUEST, timeout=30))
    await first_run(dag)

    failed = await failure(read(stub.InvokeStream(REQUEST, timeout=30)))
    assert not failed.reason
    dag.made[0].finish("predict", "patient")

    assert MessageToDict((await unary).result) == {"return_value": "patient"}


CALLS = 1200
"""More than Envoy lets through by default, which is 1024."""


async def test_many_at_once(proxy: Envoy, channel: grpc.aio.Channel) -> None:
    """Envoy has no limit below the gateways' own."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(CALLS)]

    statuses = {(await watch.read()).status for watch in watches}

    assert statuses == {health_pb2.HealthCheckResponse.SERVING}
    assert await proxy.stat("upstream_rq_active") >= CALLS
    for watch in watches:
        watch.cancel()


async def test_what_gateways_answer_throws_none_out(
    airflow: FakeAirflow, proxy: Envoy, channel: grpc.aio.Channel
) -> None:
    """A hundred calls each of three kinds of failure, which no other gateway would answer better.

    Envoy takes them for 5xx in a row, and by default would leave both gateways out.
    """
    airflow.add(Dag("parked"))
    airflow.add(Dag("fails", script=[steps.fail("predict"), steps.end("failed")]))
    airflow.add(Dag("away"))
    airflow.faults.add(faults.refused(503), Kind.DAG, dag_id="away")
    stub = rpc.DagInferenceStub(channel)
    seen = set()
    for dag_id, timeout in (("parked", 0.5), ("away", 30), ("fails", 30)):
        request = pb.InvokeRequest(dag_id=dag_id)
        calls = [failure(stub.Invoke(request, timeout=timeout)) for _ in range(100)]
        seen |= {(dag_id, failed.code.name) for failed in await asyncio.gather(*calls)}

    assert seen == {
        ("parked", "DEADLINE_EXCEEDED"),
        ("away", "UNAVAILABLE"),
        ("fails", "ABORTED"),
    }
    assert await proxy.stat("outlier_detection.ejections_detected_consecutive_5xx") > 0
    assert await proxy.stat("outlier_detection.ejections_enforced_total") == 0
    assert len(await proxy.serving()) == 2
