"""What Envoy repeats, and what it leaves to the caller: a second run must never be its choice."""

from __future__ import annotations

import grpc
from google.protobuf.json_format import MessageToDict

from dag_inference._channels import channel_options
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.mesh.envoy import Envoy
from integration.statuses import failure

TRIES = 4
"""How often a gateway asks Airflow by itself, before it is `UNAVAILABLE`."""


async def test_the_pushback_reaches_the_caller(
    airflow: FakeAirflow, channel: grpc.aio.Channel
) -> None:
    """When to repeat the call; and never, if there may be a run and the call has no name."""
    airflow.add(Dag("away"))
    lost = airflow.add(Dag("lost"))
    airflow.faults.add(faults.refused(503), Kind.DAG, dag_id="away")
    airflow.faults.add(faults.lost(), Kind.TRIGGER, dag_id="lost")
    stub = rpc.DagInferenceStub(channel)

    later = await failure(stub.Invoke(pb.InvokeRequest(dag_id="away"), timeout=30))
    never = await failure(stub.Invoke(pb.InvokeRequest(dag_id="lost"), timeout=30))

    assert {later.reason, never.reason} == {"AIRFLOW_UNAVAILABLE"}
    assert later.trailers["grpc-retry-pushback-ms"] == "1000"
    assert never.trailers["grpc-retry-pushback-ms"] == "-1"
    assert len(lost.made) == 1


async def test_a_call_without_a_name_is_repeated_by_nobody(
    airflow: FakeAirflow, proxy: Envoy
) -> None:
    """Neither by Envoy nor by a channel that would repeat it: there may be a run."""
    dag = airflow.add(Dag("dag"))
    airflow.faults.add(faults.lost(), Kind.TRIGGER)

    async with grpc.aio.insecure_channel(proxy.target, channel_options(())) as channel:
        stub = rpc.DagInferenceStub(channel)
        failed = await failure(stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=30))

    assert failed.reason == "AIRFLOW_UNAVAILABLE"
    assert len(dag.made) == 1
    assert airflow.count(Kind.TRIGGER) == TRIES


async def test_a_call_with_a_name_is_repeated_by_its_channel(
    airflow: FakeAirflow, proxy: Envoy
) -> None:
    """And finds its run, whichever gateway it gets to."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", "once")]))
    airflow.faults.add(faults.lost(), Kind.TRIGGER, times=TRIES)
    request = pb.InvokeRequest(dag_id="dag", request_id="named")

    async with grpc.aio.insecure_channel(proxy.target, channel_options(())) as channel:
        answer = await rpc.DagInferenceStub(channel).Invoke(request, timeout=30)

    assert MessageToDict(answer.result) == {"return_value": "once"}
    assert len(dag.made) == 1
    assert airflow.count(Kind.TRIGGER) == TRIES + 1
    assert await proxy.stat("upstream_rq_retry") == 0
