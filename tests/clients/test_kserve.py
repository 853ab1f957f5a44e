"""KServe's Python client, as it is, calls DAGs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput
from kserve.utils.numpy_codec import from_np_dtype

NUMBERS = [
    np.array([True, False]),
    *(np.array([0, np.iinfo(kind).max], kind) for kind in ("u1", "u2", "u4", "u8")),
    *(np.array([np.iinfo(kind).min, -1], kind) for kind in ("i1", "i2", "i4", "i8")),
    np.array([0.5, -65504], np.float16),
    np.array([0.1, -9.2e18], np.float32),
    np.array([5e-324, 1.8e19], np.float64),
    np.array([[[1], [2]], [[3], [4]], [[5], [6]]]),
    np.empty((3, 0), np.int64),
]


@pytest.fixture
async def client(target: str) -> AsyncIterator[Any]:
    """The client."""
    client = InferenceGRPCClient(target, timeout=20)
    yield client
    await client.close()


def given(name: str, array: Any, *, is_raw: bool = True) -> InferInput:
    """An array as an input."""
    sent = InferInput(name, [*array.shape], from_np_dtype(array.dtype))
    sent.set_data_from_numpy(array, binary_data=is_raw)
    return sent


def asking(model: str, *inputs: InferInput, **others: Any) -> InferRequest:
    """A request."""
    return InferRequest(model_name=model, infer_inputs=[*inputs], **others)


def output(response: Any, name: str) -> Any:
    """An output by its name."""
    return response.get_output_by_name(name)


@pytest.mark.parametrize("is_raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("array", NUMBERS, ids=lambda a: f"{a.dtype}{list(a.shape)}")
async def test_numbers(client: Any, array: Any, is_raw: bool) -> None:
    """Every datatype comes back, whichever way it is sent."""
    # Of which the protocol has but one for FP16.
    is_raw = is_raw or array.dtype == np.float16

    response = await client.infer(asking("echo", given("x", array, is_raw=is_raw)))

    came = output(response, "x").as_numpy()
    assert came.shape == array.shape
    assert came.tolist() == array.tolist()


async def test_texts_and_json(client: Any) -> None:
    """Texts come back; an input that is said to be JSON is that; so is an output."""
    names = given("names", np.array(["a", "ü"], dtype=np.object_))
    order = given("order", np.array(['{"lines": [1, null]}'], dtype=np.object_))
    order.parameters = {**order.parameters, "content_type": "application/json"}

    response = await client.infer(asking("echo", names, order))

    assert [text.decode() for text in output(response, "names").as_numpy()] == ["a", "ü"]
    came = output(response, "order")
    assert came.parameters["content_type"].string_param == "application/json"
    assert json.loads(came.as_numpy().item()) == {"lines": [1, None]}


async def test_outputs(client: Any) -> None:
    """An object is one output for each key, of which some may be asked for; the id comes back."""
    wanted = [RequestedOutput("label"), RequestedOutput("scores")]

    response = await client.infer(asking("classify", request_id="mine", request_outputs=wanted))

    assert [each.name for each in response.outputs] == ["label", "scores"]
    assert output(response, "scores").as_numpy().dtype == np.float32
    assert response.id == "mine"
    assert response.parameters["dag_run_id"].string_param.startswith("grpc-")


async def test_parameters(client: Any) -> None:
    """Are keys of the conf, and `request_id` makes two calls one run."""
    request = asking("echo", parameters={"limit": 7, "request_id": "kserve-once"})

    first, second = [await client.infer(request) for _ in range(2)]

    assert first.parameters["dag_run_id"] == second.parameters["dag_run_id"]
    assert output(second, "limit").as_numpy().item() == 7


async def test_what_is_ready(client: Any) -> None:
    """Live, ready, and a DAG."""
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("echo")
    assert not await client.is_model_ready("paused")
    assert not await client.is_model_ready("none")


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        ("none", grpc.StatusCode.NOT_FOUND, "Airflow has no DAG none"),
        ("paused", grpc.StatusCode.FAILED_PRECONDITION, "is paused"),
        ("failing", grpc.StatusCode.ABORTED, "ValueError: too bad"),
    ],
)
async def test_errors(client: Any, model: str, code: grpc.StatusCode, says: str) -> None:
    """Have our codes, and what happened."""
    with pytest.raises(grpc.RpcError) as caught:
        await client.infer(asking(model))

    error: Any = caught.value
    assert (error.code(), says in error.details()) == (code, True)
