"""A stream of the Open Inference Protocol: many requests, each answered in its own time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from dag_inference_server.inference import open_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, steps
from integration.gateway import Gateway
from integration.inference import echo, infer, returning, stub, tensor, values
from integration.statuses import ended, failure
from integration.waiting import eventually

ONE = tensor("x", "INT64", [1], int64_contents=[1])


def parameter(answer: pb.ModelStreamInferResponse, name: str) -> str:
    """A text among the parameters of an answer."""
    return answer.infer_response.parameters[name].string_param


async def test_answers_come_as_they_are_ready(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A slow run holds up no other, and each answer has the id of its request."""
    slow = airflow.add(Dag("slow"))
    airflow.add(echo())
    stream = stub(gateway).ModelStreamInfer(timeout=20)

    await stream.write(infer(dag_id="slow", id="first"))
    (run,) = await eventually(lambda: slow.made)
    await stream.write(infer(ONE, id="second"))
    second = await read(stream)
    run.finish("predict", 7)
    first = await read(stream)
    await stream.done_writing()

    assert (second.id, values(second)) == ("second", {"x": [1]})
    assert (first.id, values(first)) == ("first", {"return_value": 7})
    assert first.parameters["dag_run_id"].string_param == run.run_id
    assert first.parameters["triton_final_response"].bool_param
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_an_error_is_an_answer(airflow: FakeAirflow, gateway: Gateway) -> None:
    """With its reason, what happened, whose it is and the run; the stream goes on."""
    failing = Dag("failing", script=[steps.fail("predict", raises=ValueError("too bad"))])
    airflow.add(failing)
    airflow.add(echo())
    stream = stub(gateway).ModelStreamInfer(timeout=20)

    await stream.write(infer(dag_id="failing", id="bad"))
    bad: Any = await stream.read()
    await stream.write(infer(tensor("x", "FP8", [1]), id="worse"))
    worse: Any = await stream.read()
    await stream.write(infer(ONE, id="good"))
    good = await read(stream)

    run_id = failing.made[0].run_id
    assert bad.error_message.startswith("TASK_FAILED: task predict failed")
    assert bad.error_message.endswith(f"ValueError: too bad [id bad] [run {run_id}]")
    assert (bad.infer_response.id, bad.infer_response.outputs) == ("bad", [])
    assert (parameter(bad, "reason"), parameter(bad, "code")) == ("TASK_FAILED", "ABORTED")
    assert parameter(bad, "dag_run_id") == run_id
    assert worse.error_message.startswith("REQUEST_INVALID: inputs[0].datatype")
    assert worse.error_message.endswith(" [id worse]")
    assert (good.id, values(good)) == ("good", {"x": [1]})
    stream.cancel()


async def test_a_caller_that_goes_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Leaves the runs as they are."""
    dag = airflow.add(Dag("dag"))
    stream = stub(gateway).ModelStreamInfer(timeout=20)
    await stream.write(infer(dag_id="dag"))
    await eventually(lambda: dag.made)

    stream.cancel()

    await ended(stream)
    await airflow.silence()
    assert airflow.count(Kind.PATCH_RUN) == 0


async def test_the_end_of_the_requests(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is not the end of their answers."""
    airflow.add(returning(1))

    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        for index in range(20):
            yield infer(dag_id="dag", id=str(index))

    answers = [answer async for answer in stub(gateway).ModelStreamInfer(requests(), timeout=20)]

    assert {answer.infer_response.id for answer in answers} == {*map(str, range(20))}
    assert not any(answer.error_message for answer in answers)


async def test_the_deadline_of_the_stream(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Bounds its calls: they are told with their runs before it passes."""
    dag = airflow.add(Dag("dag"))
    stream = stub(gateway).ModelStreamInfer(timeout=2)

    await stream.write(infer(dag_id="dag"))
    answer: Any = await stream.read()

    assert answer.error_message.startswith("DEADLINE_EXCEEDED: ")
    assert answer.error_message.endswith(f"[run {dag.made[0].run_id}]")
    stream.cancel()


async def test_what_is_no_message(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Ends the stream with an error of the contract, after the answers to what came before."""
    airflow.add(echo())
    method: Any = gateway.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    stream = method(timeout=10)

    await stream.write(infer(ONE, id="good").SerializeToString())
    await stream.write(b"\xff")
    answer = pb.ModelStreamInferResponse.FromString(await stream.read())
    failed = await failure(_rest(stream))

    assert answer.infer_response.id == "good"
    assert (failed.code, failed.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_INVALID",
    )


@pytest.mark.parametrize("settings", [{"max_calls": 1}])
async def test_limits_count_each_request(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A stream is no way around them."""
    dag = airflow.add(Dag("dag"))
    stream = stub(gateway).ModelStreamInfer(timeout=20)
    await stream.write(infer(dag_id="dag", id="first"))
    await eventually(lambda: dag.made)

    await stream.write(infer(dag_id="dag", id="second"))
    answer: Any = await stream.read()

    assert answer.infer_response.id == "second"
    assert parameter(answer, "reason") == "OVERLOADED"
    stream.cancel()


@pytest.mark.parametrize("settings", [{"shutdown_grace": 20}])
async def test_a_gateway_that_goes_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Answers what is under way, and ends a stream that waits for more at once."""
    dag = airflow.add(Dag("dag"))
    busy, idle = (stub(gateway).ModelStreamInfer(timeout=60) for _ in range(2))
    await busy.write(infer(dag_id="dag"))
    (run,) = await eventually(lambda: dag.made)
    await idle.write(infer(tensor("x", "FP8", [1])))
    await idle.read()

    gateway.end()

    failed = await failure(_rest(idle))
    assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    run.finish("predict", 7)
    assert values(await read(busy)) == {"return_value": 7}
    assert (await failure(_rest(busy))).reason == "SHUTTING_DOWN"


@pytest.mark.parametrize("settings", [{"shutdown_grace": 1}])
async def test_what_is_cut_off(airflow: FakeAirflow, gateway: Gateway) -> None:
    """After the grace the rest is told where its runs go on."""
    dag = airflow.add(Dag("dag"))
    stream = stub(gateway).ModelStreamInfer(timeout=60)
    await stream.write(infer(dag_id="dag"))
    (run,) = await eventually(lambda: dag.made)

    gateway.end()

    answer: Any = await stream.read()
    assert (parameter(answer, "reason"), parameter(answer, "dag_run_id")) == (
        "SHUTTING_DOWN",
        run.run_id,
    )


async def read(stream: Any) -> pb.ModelInferResponse:
    """The next answer, which has to be no error."""
    async with asyncio.timeout(10):
        answer = await stream.read()
    assert not answer.error_message
    response: pb.ModelInferResponse = answer.infer_response
    return response


async def _rest(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass
    await stream.code()
    raise await _error(stream)


async def _error(stream: Any) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        await stream.code(),
        await stream.initial_metadata(),
        await stream.trailing_metadata(),
        await stream.details(),
    )
