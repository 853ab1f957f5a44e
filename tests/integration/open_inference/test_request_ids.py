"""The parameter `request_id` makes several calls one run, whatever becomes of its DAG."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dag_inference_server.inference import open_inference_pb2 as pb
from fakes.airflow import FakeAirflow, Task
from integration.gateway import Gateway
from integration.inference import echo, infer, stub, tensor
from integration.statuses import failure


async def test_only_the_request_id_makes_calls_one(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The same `id` twice is two runs; the same `request_id` is one, also for `Invoke`."""
    dag = airflow.add(echo())
    once = {"request_id": pb.InferParameter(string_param="once")}

    for _ in range(2):
        await stub(gateway).ModelInfer(infer(id="same"), timeout=10)
        await stub(gateway).ModelInfer(infer(id="same", parameters=once), timeout=10)

    assert len(dag.made) == 3
    await gateway.client.invoke("echo", request_id="once", timeout=10)
    assert len(dag.made) == 3


async def test_a_request_id_finds_its_run_after_a_new_version(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """The version that was the latest when the run was made is no reason to lose it."""
    dag = airflow.add(echo(tags=["result:predict"]))
    request = infer(
        model_version="1", parameters={"request_id": pb.InferParameter(string_param="once")}
    )
    first = await stub(gateway).ModelInfer(request, timeout=10)
    dag.new_version(Task("predict"))
    await eventually_version(gateway, "2")

    again = await stub(gateway).ModelInfer(request, timeout=10)

    assert again.parameters["dag_run_id"] == first.parameters["dag_run_id"]


@pytest.mark.parametrize(
    ("before", "after", "sent"),
    [
        (
            {"type": ["integer", "array"]},
            {"type": "integer"},
            tensor("x", "INT64", [1], int64_contents=[7]),
        ),
        (
            {"type": "string"},
            {"type": "object"},
            tensor("x", "BYTES", [1], bytes_contents=[b"no JSON"]),
        ),
        (
            {"type": "string"},
            {"type": "string", "contentEncoding": "base64"},
            tensor("x", "BYTES", [1], bytes_contents=[b"abc"]),
        ),
    ],
    ids=["no list any more", "an object now", "base64 now"],
)
async def test_a_request_id_finds_its_run_after_the_params_changed(
    airflow: FakeAirflow,
    gateway: Gateway,
    before: dict[str, Any],
    after: dict[str, Any],
    sent: Any,
) -> None:
    """The same words are the same request, whatever they mean today; other words are not."""
    params = {"x": {"value": None, "schema": before}}
    dag = airflow.add(echo(params=params, tags=["result:predict"]))
    once = {"request_id": pb.InferParameter(string_param="once")}
    first = await stub(gateway).ModelInfer(infer(sent, parameters=once), timeout=10)
    dag.params = {"x": {"value": None, "schema": after}}
    dag.new_version(Task("predict"))
    await eventually_version(gateway, "2")

    again = await stub(gateway).ModelInfer(infer(sent, parameters=once), timeout=10)
    other = tensor("x", "INT64", [1], int64_contents=[8])
    failed = await failure(stub(gateway).ModelInfer(infer(other, parameters=once), timeout=10))

    assert again.parameters["dag_run_id"] == first.parameters["dag_run_id"]
    assert failed.reason == "REQUEST_ID_REUSED"
    assert len(dag.made) == 1


async def eventually_version(gateway: Gateway, version: str) -> None:
    """Wait until the gateway knows of it: what it knows of a DAG is up to a second old."""
    request = pb.ModelMetadataRequest(name="echo")
    async with asyncio.timeout(10):
        while version not in (await stub(gateway).ModelMetadata(request, timeout=5)).versions:
            pass
