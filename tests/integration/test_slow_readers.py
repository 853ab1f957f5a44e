"""Callers that do not read what they asked for: each costs what one answer does, nobody waits."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import grpc
import psutil
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from dag_inference_server.airflow import TaskInstance
from fakes.airflow import Dag, FakeAirflow, steps
from fakes.http2 import taking_nothing
from gateway_process import GatewayProcess, environment_for, gateway_process
from integration.gateway import Gateway
from integration.scraping import scrape

QUICK = pb.InvokeRequest(dag_id="quick")
LOUD = pb.InvokeRequest(dag_id="loud").SerializeToString()
LARGE = pb.InvokeRequest(dag_id="large").SerializeToString()
INVOKE, INVOKE_STREAM = (f"/dag_inference.v1.DagInference/{n}" for n in ("Invoke", "InvokeStream"))

STREAMS, NEWS = 200, 10
ANSWERS, BYTES = 8, 2_000_000


async def test_streams_that_nobody_reads(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Of all their news only the newest is kept, and others are served meanwhile."""
    await gateway.ready()
    loud = airflow.add(Dag("loud"))
    airflow.add(Dag("quick", script=[steps.finish("predict", 1)]))
    async with taking_nothing(gateway.serving.port, INVOKE_STREAM, request=LOUD, times=STREAMS):
        told = pb.WaitRequest(dag_id="loud", run_id=loud.made[0].run_id)
        reader: Any = gateway.stub.Watch(told, timeout=60)
        for news in range(NEWS):
            for run in loud.made:
                run.begin("predict")
                run.retry("predict")
            await _sees(reader, news + 1)
        answers = await asyncio.gather(*(gateway.stub.Invoke(QUICK, timeout=30) for _ in "123"))
        counted = await scrape(gateway)
        kept = sum(isinstance(each, TaskInstance) for each in gc.get_objects())
        reader.cancel()

    assert [MessageToDict(answer.result) for answer in answers] == [{"return_value": 1}] * 3
    assert counted("grpc_server_msg_sent_total", grpc_method="InvokeStream") == STREAMS
    assert STREAMS <= kept <= 3 * STREAMS


async def test_answers_that_nobody_reads(airflow: FakeAirflow) -> None:
    """Each is in memory a few times and no more, others are served, and a drain ends them all."""
    loud = airflow.add(Dag("loud"))
    airflow.add(Dag("large", script=[steps.finish("predict", "x" * BYTES)]))
    airflow.add(Dag("quick", script=[steps.finish("predict", 1)]))
    environment = environment_for(airflow, SHUTDOWN_GRACE="2")
    async with (
        gateway_process(environment) as process,
        grpc.aio.insecure_channel(process.target) as channel,
    ):
        stub: Any = rpc.DagInferenceStub(channel)
        await stub.Invoke(QUICK, timeout=30)
        # What reads and makes the first large one is loaded with it.
        await stub.Invoke(pb.InvokeRequest(dag_id="large"), timeout=30)
        before = psutil.Process(process.pid).memory_info().rss
        async with (
            taking_nothing(process.port, INVOKE, request=LARGE, times=ANSWERS),
            taking_nothing(process.port, INVOKE_STREAM, request=LOUD, times=ANSWERS),
        ):
            await _sent(process, ANSWERS + 2)
            grown = psutil.Process(process.pid).memory_info().rss - before
            answer = await stub.Invoke(QUICK, timeout=30)
            process.signal()

            assert await process.ended() == 0

    assert MessageToDict(answer.result) == {"return_value": 1}
    assert len(loud.made) == ANSWERS
    assert grown < 4 * ANSWERS * BYTES


async def _sees(reader: Any, number: int) -> None:
    """Read until a try is told of, or a later one."""
    async with asyncio.timeout(30):
        while (await reader.read()).task_instance.try_number < number:
            pass


async def _sent(process: GatewayProcess, answers: int) -> None:
    """Wait until so many calls have been answered."""
    async with asyncio.timeout(60):
        while await _answered(process) < answers:
            pass


async def _answered(process: GatewayProcess) -> float:
    counted = await scrape(process.metrics_port)
    return counted("grpc_server_msg_sent_total", grpc_method="Invoke")
