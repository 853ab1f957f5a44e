"""What a result is as outputs."""

from __future__ import annotations

import struct
from typing import Any

import grpc
import pytest

from dag_inference_server.inference import open_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Task, steps
from integration.gateway import Gateway
from integration.inference import infer, kinds, returning, stub, values
from integration.statuses import failure


@pytest.mark.parametrize(
    ("value", "datatype", "shape"),
    [
        (True, "BOOL", []),
        (7, "INT64", []),
        (0.5, "FP64", []),
        ("text", "BYTES", []),
        ([1], "INT64", [1]),
        ([], "FP64", [0]),
        ([[], []], "FP64", [2, 0]),
        ([[1, 2], [3, 4], [5, 6]], "INT64", [3, 2]),
        ([1, 0.5], "FP64", [2]),
        ([True, False], "BOOL", [2]),
        (["a", "ü"], "BYTES", [2]),
        ([2**64 - 1], "UINT64", [1]),
    ],
    ids=str,
)
async def test_what_is_a_tensor(
    airflow: FakeAirflow, gateway: Gateway, value: Any, datatype: str, shape: list[int]
) -> None:
    """Scalars have no dimensions, rectangular lists have theirs, and both come back equal."""
    airflow.add(returning(value))

    response = await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)

    assert kinds(response) == {"return_value": (datatype, shape)}
    assert not response.outputs[0].parameters
    assert values(response) == {"return_value": value}


@pytest.mark.parametrize(
    "value",
    [[[1, 2], [3]], [1, "a"], [True, 1], [None], [{"a": 1}], [-1, 2**64 - 1], [2**53 + 1, 0.5]],
    ids=str,
)
async def test_what_is_none(airflow: FakeAirflow, gateway: Gateway, value: Any) -> None:
    """Whatever else there is comes as JSON, exactly, and says so."""
    airflow.add(returning(value))

    response = await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)

    assert kinds(response) == {"return_value": ("BYTES", [])}
    parameter = response.outputs[0].parameters["content_type"]
    assert parameter.string_param == "application/json"
    assert values(response) == {"return_value": value}


async def test_null_is_json(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Of a task that returned nothing, too."""
    airflow.add(returning(None))

    response = await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)

    assert response.outputs[0].parameters["content_type"].string_param == "application/json"
    assert values(response) == {"return_value": None}


async def test_several_result_tasks(airflow: FakeAirflow, gateway: Gateway) -> None:
    """One output for each."""
    script = [steps.finish("left", [1, 2]), steps.finish("right", {"a": 1})]
    tags = ["result:left", "result:right"]
    airflow.add(Dag("dag", Task("left"), Task("right"), tags=tags, script=script))

    response = await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)

    assert values(response) == {"left": [1, 2], "right": {"a": 1}}
    assert kinds(response) == {"left": ("INT64", [2]), "right": ("BYTES", [])}


async def test_no_result_task(airflow: FakeAirflow, gateway: Gateway) -> None:
    """No outputs, and no error."""
    script = [steps.finish("left", 1), steps.finish("right", 2), steps.end()]
    airflow.add(Dag("dag", Task("left"), Task("right"), script=script))

    assert not (await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)).outputs


async def test_outputs_that_are_wanted(airflow: FakeAirflow, gateway: Gateway) -> None:
    """They come in the order of the request, and the others stay away."""
    airflow.add(returning({"a": 1, "b": 2, "c": 3}))
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in "ca"]

    response = await stub(gateway).ModelInfer(infer(dag_id="dag", outputs=wanted), timeout=10)

    assert [output.name for output in response.outputs] == ["c", "a"]
    assert values(response) == {"c": 3, "a": 1}


@pytest.mark.parametrize(("tags", "runs"), [((), 1), (("output:b:INT64",), 0)])
async def test_an_output_that_there_is_not(
    airflow: FakeAirflow, gateway: Gateway, tags: tuple[str, ...], runs: int
) -> None:
    """Is refused: before there is a run, if the DAG's author has declared what there is."""
    dag = airflow.add(returning({"b": 1}, tags=tags))
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name="a")]

    failed = await failure(
        stub(gateway).ModelInfer(infer(dag_id="dag", outputs=wanted), timeout=10)
    )

    assert (failed.code, failed.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_INVALID",
    )
    assert failed.violations == ["outputs[0].name"]
    assert "the outputs are: b" in failed.message
    assert len(dag.made) == runs
    assert ("run_id" in failed.metadata) == bool(runs)


@pytest.mark.parametrize(
    ("declared", "value", "told"),
    [
        ("FP32", [1, 0.5], ("FP32", struct.pack("<2f", 1, 0.5))),
        ("FP16", [1, 0.5], ("FP16", struct.pack("<2e", 1, 0.5))),
        ("BF16", [1, 0.5], ("BF16", b"\x80\x3f\x00\x3f")),
        ("INT8", [1, -1], ("INT8", b"\x01\xff")),
        ("INT8", [1, 128], ("INT64", struct.pack("<2q", 1, 128))),
        ("FP32", [1e300, 0], ("FP64", struct.pack("<2d", 1e300, 0))),
        ("FP32", [2**24, 1], ("FP32", struct.pack("<2f", 2**24, 1))),
        ("FP32", [2**24 + 1, 1], ("INT64", struct.pack("<2q", 2**24 + 1, 1))),
        ("FP32", [2**24 + 1, 0.5], ("FP64", struct.pack("<2d", 2**24 + 1, 0.5))),
        ("FP64", [2**53 + 1], ("INT64", struct.pack("<q", 2**53 + 1))),
        ("FP64", [10**17, 0.5], ("FP64", struct.pack("<2d", 1e17, 0.5))),
        ("FP64", [10**17], ("FP64", struct.pack("<d", 1e17))),
        ("FP32", [10**17, 0.5], ("FP32", struct.pack("<2f", 1e17, 0.5))),
        ("INT64", [0.5, 1], ("FP64", struct.pack("<2d", 0.5, 1))),
        ("UINT8", [], ("UINT8", b"")),
        ("BYTES", ["a", "b"], ("BYTES", b"\1\0\0\0a\1\0\0\0b")),
        ("BYTES", [1, 2], ("BYTES", b"\5\0\0\0[1,2]")),
    ],
)
async def test_a_declared_datatype(
    airflow: FakeAirflow, gateway: Gateway, declared: str, value: Any, told: tuple[str, bytes]
) -> None:
    """Is taken if the value fits it; else the value comes as it is, and says what it is."""
    airflow.add(returning({"x": value}, tags=[f"output:x:{declared}:-1"]))

    response = await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)

    assert (response.outputs[0].datatype, response.raw_output_contents[0]) == told


@pytest.mark.parametrize("settings", [{"max_result_bytes": 1024}])
async def test_a_result_that_is_too_large(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The limit is that of every answer, and fewer outputs are a way out."""
    airflow.add(returning({"large": [0.5] * 200, "small": 1}))
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name="small")]

    failed = await failure(stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10))

    assert (failed.code, failed.reason) == (grpc.StatusCode.OUT_OF_RANGE, "RESULT_TOO_LARGE")
    assert failed.metadata["run_id"]
    response = await stub(gateway).ModelInfer(infer(dag_id="dag", outputs=wanted), timeout=10)
    assert values(response) == {"small": 1}
