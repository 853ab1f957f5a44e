"""What a caller gets: the result as plain Python, and the run it came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import grpc
import pytest

from dag_inference import (
    AsyncDagInferenceClient,
    DagInferenceClient,
    Result,
    ResultKind,
    ResultReference,
    Run,
    RunState,
    Timing,
)
from dag_inference.v1 import dag_inference_pb2 as pb

Serve = Callable[..., str]

STARTED = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def answer(value: dict[str, Any], kind: pb.ResultKind.ValueType) -> pb.InvokeResponse:
    """A result with all that is around it."""
    response = pb.InvokeResponse(
        result_kind=kind,
        run=pb.Run(
            dag_id="iris",
            run_id="grpc__1",
            state=pb.RUN_STATE_RUNNING,
            url="http://a/",
            dag_version=3,
        ),
    )
    if kind != pb.RESULT_KIND_NONE:
        wrapped = kind == pb.RESULT_KIND_WRAPPED_VALUE
        response.result_json = json.dumps(value["return_value"] if wrapped else value)
    response.run.start_time.FromDatetime(STARTED)
    response.timing.trigger.FromTimedelta(timedelta(milliseconds=20))
    response.timing.total.FromTimedelta(timedelta(seconds=2))
    return response


EXPECTED_RUN = Run(
    dag_id="iris",
    run_id="grpc__1",
    state=RunState.RUNNING,
    url="http://a/",
    dag_version=3,
    queued_time=None,
    start_time=STARTED,
    end_time=None,
)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"species": "setosa", "scores": [0.9, None, True, {}]}, pb.RESULT_KIND_OBJECT),
        ({"return_value": None}, pb.RESULT_KIND_WRAPPED_VALUE),
        ({"a": {"x": 1}, "b": [2]}, pb.RESULT_KIND_BY_TASK),
        ({}, pb.RESULT_KIND_NONE),
    ],
)
async def test_every_kind_of_result_is_the_dict_on_the_wire(
    serve: Serve, value: dict[str, Any], kind: pb.ResultKind.ValueType
) -> None:
    """`invoke` returns the result as it was sent, whatever its kind, in both clients."""
    target = serve(Invoke=lambda request, context: answer(value, kind))

    with DagInferenceClient(target) as client:
        assert client.invoke("iris") == value
    async with AsyncDagInferenceClient(target) as aio:
        assert await aio.invoke("iris") == value


@pytest.mark.parametrize("text", ["9223372036854775808", "1.0", "1", "-0.0", "1e+300", '"1"'])
def test_numbers_are_exact(serve: Serve, text: str) -> None:
    """Integers of any length stay integers, and floats floats: the result comes as JSON."""
    response = pb.InvokeResponse(
        result_kind=pb.RESULT_KIND_OBJECT, result_json=f'{{"number": {text}}}'
    )
    asked: list[pb.InvokeRequest] = []

    def invoke(request: pb.InvokeRequest, context: grpc.ServicerContext) -> pb.InvokeResponse:
        asked.append(request)
        return response

    with DagInferenceClient(serve(Invoke=invoke)) as client:
        value = client.invoke("iris")

    assert json.dumps(value) == response.result_json
    assert [request.result_format for request in asked] == [pb.RESULT_FORMAT_JSON]


async def test_references_instead_of_values(serve: Serve) -> None:
    """With `reference`, `call` tells where the values lie."""

    def invoke(request: pb.InvokeRequest, context: grpc.ServicerContext) -> pb.InvokeResponse:
        assert request.result_format == pb.RESULT_FORMAT_REFERENCE
        plain = pb.ResultReference(
            dag_id="iris",
            run_id="grpc__1",
            task_id="predict",
            key="return_value",
            api_url="http://a/1",
            ui_url="http://a/2",
        )
        response = pb.InvokeResponse(result_reference=[plain, plain])
        response.result_reference[1].map_index = 0
        return response

    target = serve(Invoke=invoke)
    names = ("iris", "grpc__1", "predict")
    rest = ("return_value", "http://a/1", "http://a/2")
    expected = (ResultReference(*names, None, *rest), ResultReference(*names, 0, *rest))

    with DagInferenceClient(target) as client:
        result = client.call("iris", reference=True)
        assert (result.value, result.references) == ({}, expected)
    async with AsyncDagInferenceClient(target) as aio:
        assert (await aio.call("iris", reference=True)).references == expected


async def test_call_tells_kind_run_and_timing(serve: Serve) -> None:
    """`call` returns all that the contract says of a result; what is unset is `None`."""
    target = serve(Invoke=lambda request, context: answer({"x": 1}, pb.RESULT_KIND_OBJECT))
    expected = Result(
        value={"x": 1},
        kind=ResultKind.OBJECT,
        references=(),
        run=EXPECTED_RUN,
        timing=Timing(
            admission=None,
            trigger=timedelta(milliseconds=20),
            queued=None,
            running=None,
            detection=None,
            value_read=None,
            translation=None,
            unattributed=None,
            total=timedelta(seconds=2),
        ),
    )

    with DagInferenceClient(target) as client:
        assert client.call("iris") == expected
    async with AsyncDagInferenceClient(target) as aio:
        assert await aio.call("iris") == expected


def test_what_a_newer_gateway_knows_is_unknown(serve: Serve) -> None:
    """Enum values from the future are no errors."""
    response = pb.InvokeResponse()
    response.MergeFromString(b"\x10\x63")  # result_kind = 99
    response.run.MergeFromString(b"\x18\x63")  # state = 99
    target = serve(Invoke=lambda request, context: response)

    with DagInferenceClient(target) as client:
        result = client.call("iris")

    assert (result.kind, result.run.state) == (ResultKind.UNKNOWN, RunState.UNKNOWN)


async def test_wait_and_cancel_come_back_to_a_run(serve: Serve) -> None:
    """`wait` returns what `call` would have, `cancel` the run as it was afterwards."""

    def wait(request: pb.WaitRequest, context: grpc.ServicerContext) -> pb.InvokeResponse:
        return answer({"asked": request.run_id}, pb.RESULT_KIND_OBJECT)

    def cancel(request: pb.CancelRequest, context: grpc.ServicerContext) -> pb.CancelResponse:
        return pb.CancelResponse(run=pb.Run(run_id=request.run_id, url=request.comment))

    target = serve(Wait=wait, Cancel=cancel)

    with DagInferenceClient(target) as client:
        assert client.wait("iris", "grpc__1").value == {"asked": "grpc__1"}
        assert client.cancel("iris", "grpc__1", comment="why").url == "why"
    async with AsyncDagInferenceClient(target) as aio:
        assert (await aio.wait("iris", "grpc__1")).value == {"asked": "grpc__1"}
        assert (await aio.cancel("iris", "grpc__1", comment="why")).url == "why"


async def test_the_run_id_is_there_before_the_result(serve: Serve) -> None:
    """`on_run` is called while the run is still under way."""
    told = Event()

    def invoke(request: pb.InvokeRequest, context: grpc.ServicerContext) -> pb.InvokeResponse:
        context.send_initial_metadata((("dag-run-id", "grpc__1"),))
        assert told.wait(5), "the run id came only with the result"
        told.clear()
        return pb.InvokeResponse()

    target = serve(Invoke=invoke)
    seen: list[str] = []

    def on_run(run_id: str) -> None:
        seen.append(run_id)
        told.set()

    with DagInferenceClient(target) as client:
        client.call("iris", on_run=on_run)
    async with AsyncDagInferenceClient(target) as aio:
        await aio.call("iris", on_run=on_run)

    assert seen == ["grpc__1", "grpc__1"]


def test_results_beyond_the_default_limit_of_grpc_arrive(serve: Serve) -> None:
    """How large a result may be is the gateway's to say, not 4 MB of the client's."""
    response = pb.InvokeResponse(result_json=json.dumps({"text": "x" * 5_000_000}))
    target = serve(Invoke=lambda request, context: response)

    with DagInferenceClient(target) as client:
        assert len(client.invoke("iris")["text"]) == 5_000_000


async def test_a_channel_of_the_callers_is_used_and_left_open(serve: Serve) -> None:
    """A channel that was handed over is the caller's to close."""
    target = serve(Invoke=lambda request, context: pb.InvokeResponse())

    with grpc.insecure_channel(target) as channel:
        for _ in range(2):
            with DagInferenceClient(channel=channel) as client:
                assert client.invoke("iris") == {}
    async with grpc.aio.insecure_channel(target) as channel_aio:
        for _ in range(2):
            async with AsyncDagInferenceClient(channel=channel_aio) as aio:
                assert await aio.invoke("iris") == {}
