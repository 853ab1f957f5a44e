"""Requests of the Open Inference Protocol that are none: what is wrong, and where."""

from __future__ import annotations

import struct
from typing import Any

import grpc
import pytest

from dag_inference_server.edge.open_inference import requests
from dag_inference_server.edge.requests import Limits
from dag_inference_server.inference import open_inference_pb2 as pb
from fakes.airflow import FakeAirflow
from integration.gateway import Gateway
from integration.inference import Tensor, echo, infer, stub, tensor
from integration.statuses import failure

ONE = tensor("x", "FP32", [1], fp32_contents=[1])


def text(value: str) -> pb.InferParameter:
    """A parameter."""
    return pb.InferParameter(string_param=value)


def number(value: int) -> pb.InferParameter:
    """A parameter."""
    return pb.InferParameter(int64_param=value)


def raw(datatype: str, shape: list[int], *contents: bytes) -> pb.ModelInferRequest:
    """A request with raw contents."""
    return infer(tensor("x", datatype, shape), raw_input_contents=contents)


def with_parameter(name: str, value: str) -> Tensor:
    """A tensor of one text with a parameter."""
    sent = tensor("x", "BYTES", [1], bytes_contents=[b"{"])
    sent.parameters[name].string_param = value
    return sent


def wanting(name: str, parameter: str = "") -> pb.ModelInferRequest.InferRequestedOutputTensor:
    """A wanted output."""
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(name=name)
    if parameter:
        wanted.parameters[parameter].int64_param = 1
    return wanted


REFUSED: list[tuple[str, pb.ModelInferRequest, str]] = [
    ("no model", infer(dag_id=""), "model_name"),
    ("a model with tricks", infer(dag_id="a/b"), "model_name"),
    ("an unknown datatype", infer(tensor("x", "FP8", [1])), "inputs[0].datatype"),
    ("no datatype", infer(tensor("x", "", [1])), "inputs[0].datatype"),
    ("no name", infer(tensor("", "FP32", [0])), "inputs[0].name"),
    ("a name twice", infer(ONE, ONE), "inputs[1].name"),
    ("a parameter's name", infer(ONE, parameters={"x": number(1)}), "inputs[0].name"),
    ("a negative dimension", infer(tensor("x", "FP32", [-1])), "inputs[0].shape"),
    ("too many dimensions", infer(tensor("x", "FP32", [1] * 65)), "inputs[0].shape"),
    ("lists without end", infer(tensor("x", "FP32", [10**9, 0])), "inputs[0].shape"),
    (
        "lists without end in all",
        infer(*[tensor(f"x{i}", "FP32", [5_000, 0]) for i in range(3)]),
        "inputs[2].shape",
    ),
    (
        "too few elements",
        infer(tensor("x", "FP32", [2, 2], fp32_contents=[1, 2, 3])),
        "inputs[0].contents.fp32_contents",
    ),
    (
        "elements of another datatype",
        infer(tensor("x", "FP32", [1], fp64_contents=[1])),
        "inputs[0].contents.fp64_contents",
    ),
    (
        "an integer out of range",
        infer(tensor("x", "INT8", [1], int_contents=[128])),
        "inputs[0].contents.int_contents",
    ),
    (
        "a sign too much",
        infer(tensor("x", "UINT8", [1], int_contents=[-1])),
        "inputs[0].contents.int_contents",
    ),
    ("FP16 without raw contents", infer(tensor("x", "FP16", [1])), "inputs[0].contents"),
    ("too few bytes", raw("FP32", [2], b"\0" * 7), "raw_input_contents[0]"),
    ("too many bytes", raw("BF16", [1], b"\0" * 3), "raw_input_contents[0]"),
    ("a length too long", raw("BYTES", [1], b"\5\0\0\0abc"), "raw_input_contents[0]"),
    ("half a length", raw("BYTES", [1], b"\5\0"), "raw_input_contents[0]"),
    ("a text too much", raw("BYTES", [0], b"\0\0\0\0"), "raw_input_contents[0]"),
    ("too many raw contents", raw("FP32", [0], b"", b""), "raw_input_contents"),
    ("both contents", infer(ONE, raw_input_contents=[b"\0" * 4]), "raw_input_contents[0]"),
    (
        "no number",
        raw("FP32", [2, 2], struct.pack("<4f", 1, 2, float("nan"), 4)),
        "conf.x[1][0]",
    ),
    ("infinity", infer(tensor("x y", "FP64", [], fp64_contents=[float("inf")])), 'conf["x y"]'),
    ("infinity in half", raw("FP16", [1], struct.pack("<e", float("-inf"))), "conf.x[0]"),
    ("more than a task gets", raw("FP32", [2], struct.pack("<2f", 1, -3.4e38)), "conf.x[1]"),
    ("shared memory", infer(with_parameter("shared_memory_region", "a")), "shared_memory_region"),
    (
        "shared memory for an output",
        infer(outputs=[wanting("x", "shared_memory_region")]),
        "outputs[0].parameters.shared_memory_region",
    ),
    (
        "classification",
        infer(outputs=[wanting("x", "classification")]),
        "outputs[0].parameters.classification",
    ),
    ("an output twice", infer(outputs=[wanting("x")] * 2), "outputs[0].name"),
    ("too many inputs", infer(*[tensor("", "FP32", [0])] * 1001), "inputs"),
    ("too many outputs", infer(outputs=[wanting("")] * 1001), "outputs"),
    (
        "too many parameters",
        infer(parameters={f"p{i}": pb.InferParameter() for i in range(1001)}),
        "parameters",
    ),
    ("an output without a name", infer(outputs=[wanting("")]), "outputs[0].name"),
    ("no JSON", infer(with_parameter("content_type", "application/json")), "conf.x"),
    (
        "a sequence",
        infer(parameters={"sequence_id": number(1)}),
        "parameters.sequence_id",
    ),
    ("a priority", infer(parameters={"priority": number(1)}), "parameters.priority"),
    ("no timeout", infer(parameters={"timeout": number(0)}), "parameters.timeout"),
    ("a request_id of none", infer(parameters={"request_id": text("")}), "parameters.request_id"),
    ("a parameter without value", infer(parameters={"a": pb.InferParameter()}), "parameters.a"),
]


@pytest.mark.parametrize(
    ("request_", "field"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_refused(
    airflow: FakeAirflow, gateway: Gateway, request_: pb.ModelInferRequest, field: str
) -> None:
    """A request that is wrong names the field, and makes no run."""
    dag = airflow.add(echo())

    failed = await failure(stub(gateway).ModelInfer(request_, timeout=10))

    assert (failed.code, failed.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_INVALID",
    )
    assert len(failed.violations) == 1, failed.message
    assert failed.violations[0].endswith(field)
    assert dag.made == []


async def test_lists_without_end_are_not_made(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a request asks for is counted before any of it is made."""
    read: list[object] = []
    monkeypatch.setattr(requests, "read", lambda *tensor: read.append(tensor))
    request = infer(*[tensor(f"x{i}", "FP32", [10_000, 0]) for i in range(445)])

    failed = await failure(stub(gateway).ModelInfer(request, timeout=10))

    assert (failed.violations, read) == (["inputs[1].shape"], [])


@pytest.mark.parametrize(("length", "is_large"), [(10, False), (9_000, True)])
async def test_a_request_is_large_by_its_lists(length: int, is_large: bool) -> None:
    """A few bytes that make many lists hold up no other calls."""
    limits = Limits(default_deadline=10, max_deadline=10, allow_result_task_ids=False)

    call, _ = await requests.read_infer(
        infer(tensor("x", "FP32", [length, 0])), lambda: None, limits
    )

    assert call.is_large == is_large


async def test_all_that_is_wrong(gateway: Gateway) -> None:
    """It is said at once."""
    request = infer(
        tensor("a", "FP8", [1]), tensor("b", "FP32", [2]), dag_id="", outputs=[wanting("")]
    )

    failed = await failure(stub(gateway).ModelInfer(request, timeout=10))

    assert failed.violations == [
        "model_name",
        "inputs[0].datatype",
        "inputs[1].contents.fp32_contents",
        "outputs[0].name",
    ]


async def test_a_text_that_has_to_be_an_object(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Where the params take objects alone, what is no JSON is refused by its path."""
    schema = {"type": "array", "items": {"type": "object"}}
    dag = airflow.add(echo(params={"lines": {"value": [], "schema": schema}}))
    lines = tensor("lines", "BYTES", [2], bytes_contents=[b"{}", b"{"])

    failed = await failure(stub(gateway).ModelInfer(infer(lines), timeout=10))

    assert (failed.reason, failed.violations) == ("REQUEST_INVALID", ["conf.lines[1]"])
    assert dag.made == []


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ServerLive"])
async def test_what_is_no_message(gateway: Gateway, method: str) -> None:
    """Has the contract's own error, too."""
    call: Any = gateway.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")

    failed = await failure(call(b"\xff", timeout=5))

    assert (failed.code, failed.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_INVALID",
    )


async def test_what_there_is_not(gateway: Gateway) -> None:
    """Methods that only Triton has are no methods here."""
    call: Any = gateway.channel.unary_unary("/inference.GRPCInferenceService/ModelConfig")

    failed = await failure(call(b"", timeout=5))

    assert failed.code is grpc.StatusCode.UNIMPLEMENTED
