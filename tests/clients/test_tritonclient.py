"""Triton's Python client, as it is, calls DAGs."""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

NUMBERS = [
    np.array([True, False]),
    *(np.array([0, np.iinfo(kind).max], kind) for kind in ("u1", "u2", "u4", "u8")),
    *(np.array([np.iinfo(kind).min, -1], kind) for kind in ("i1", "i2", "i4", "i8")),
    np.array([0.5, -65504], np.float16),
    np.array([0.1, -9.2e18], np.float32),
    np.array([5e-324, 1.8e19], np.float64),
    np.array([0.1, -9e18], ml_dtypes.bfloat16),
    np.array([[[1], [2]], [[3], [4]], [[5], [6]]]),
    np.empty((0,), np.float32),
    np.empty((3, 0), np.int64),
    np.array(7),
]


@pytest.fixture
def client(target: str) -> Iterator[Any]:
    """The blocking client."""
    with triton.InferenceServerClient(target) as client:
        yield client


def given(name: str, array: Any, datatype: str = "") -> Any:
    """An array as an input."""
    kind = datatype or np_to_triton_dtype(array.dtype)
    return triton.InferInput(name, array.shape, kind).set_data_from_numpy(array)


def texts(*values: str | bytes) -> Any:
    """An array of BYTES."""
    return np.array(values, dtype=np.object_)


@pytest.mark.parametrize("array", NUMBERS, ids=lambda a: f"{a.dtype}{list(a.shape)}")
def test_numbers(client: Any, array: Any) -> None:
    """Every datatype, of every shape, comes back with the same shape and the same numbers."""
    came = client.infer("echo", [given("x", array)], client_timeout=20).as_numpy("x")

    assert came.shape == array.shape
    # JSON has one kind of number, which is wide enough for all of them.
    assert came.tolist() == array.tolist()
    kinds = {"b": "bool", "u": "int64", "i": "int64", "f": "float64", "V": "float64"}
    if array.size:
        assert came.dtype == ("uint64" if array.dtype == "uint64" else kinds[array.dtype.kind])


@pytest.mark.parametrize(
    ("sent", "came"),
    [
        (texts("a", "ü€", ""), [b"a", "ü€".encode(), b""]),
        (texts(b"\xff\x00", b"a"), [b"/wA=", b"YQ=="]),
        (texts(b"a\0b"), [b"YQBi"]),
    ],
    ids=["text", "no text", "a zero byte"],
)
def test_bytes(client: Any, sent: Any, came: Sequence[bytes]) -> None:
    """Are text where all of them are, and else base64."""
    result = client.infer("echo", [given("x", sent)], client_timeout=20)

    assert result.as_numpy("x").tolist() == came


def test_outputs(client: Any) -> None:
    """An object is one output for each key; a declared datatype is kept; JSON says that it is."""
    result = client.infer("classify", [], request_id="mine", client_timeout=20)

    scores = result.as_numpy("scores")
    assert (scores.dtype, scores.tolist()) == (np.float32, [[0.25, 0.75], [0.5, 0.5]])
    assert result.as_numpy("label").item() == b"setosa"
    assert json.loads(result.as_numpy("model").item()) == {"name": "tree"}
    output = result.get_output("model")
    assert output.parameters["content_type"].string_param == "application/json"
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("classify", "1", "mine")
    assert response.parameters["dag_run_id"].string_param.startswith("grpc-")


@pytest.mark.parametrize(
    ("dag", "name", "value"),
    [
        ("ragged", "return_value", [[1, 2], [3]]),
        ("nothing", "return_value", None),
    ],
)
def test_what_is_no_tensor(client: Any, dag: str, name: str, value: Any) -> None:
    """Is JSON."""
    result = client.infer(dag, [], client_timeout=20)

    assert json.loads(result.as_numpy(name).item()) == value


def test_two_result_tasks(client: Any) -> None:
    """Are two outputs, of which one may be asked for."""
    both = client.infer("two", [], client_timeout=20)
    one = client.infer("two", [], outputs=[triton.InferRequestedOutput("right")], client_timeout=20)

    assert both.as_numpy("left").tolist() == [1, 2]
    assert one.as_numpy("right").item() == b"text"
    assert one.as_numpy("left") is None


def test_parameters(client: Any) -> None:
    """Are keys of the conf, and `request_id` makes two calls one run."""
    parameters = {"limit": 7, "name": "a", "deep": True, "request_id": "triton-once"}

    first, second = (
        client.infer("echo", [], parameters=parameters, client_timeout=20) for _ in range(2)
    )

    run_id, again = (each.get_response().parameters["dag_run_id"] for each in (first, second))
    assert run_id == again
    assert (second.as_numpy("limit").item(), second.as_numpy("name").item()) == (7, b"a")
    assert second.as_numpy("request_id") is None


def test_a_scalar_param(client: Any) -> None:
    """A tensor of one is a scalar where the param is no list."""
    inputs = [given("limit", np.array([7])), given("image", texts(b"\x89PNG"))]

    result = client.infer("strict", inputs, client_timeout=20)

    assert result.as_numpy("limit").shape == ()
    assert result.as_numpy("image").item() == b"iVBORw=="


def test_what_there_is(client: Any) -> None:
    """Live, ready, and described."""
    assert client.is_server_live(client_timeout=10)
    assert client.is_server_ready(client_timeout=10)
    assert client.get_server_metadata(client_timeout=10).name == "dag-inference"
    assert client.is_model_ready("echo", client_timeout=10)
    assert client.is_model_ready("echo", "1", client_timeout=10)
    assert not client.is_model_ready("echo", "2", client_timeout=10)
    assert not client.is_model_ready("paused", client_timeout=10)
    assert not client.is_model_ready("none", client_timeout=10)
    described = client.get_model_metadata("classify", as_json=True, client_timeout=10)
    assert described["versions"] == ["1"]
    assert described["platform"] == "airflow"
    scores = {"name": "scores", "datatype": "FP32", "shape": ["-1", "2"]}
    assert scores in described["outputs"]
    strict = client.get_model_metadata("strict", as_json=True, client_timeout=10)
    assert {"name": "limit", "datatype": "INT64", "shape": ["1"]} in strict["inputs"]


ERRORS = [
    ("none", [], {}, "NOT_FOUND", "Airflow has no DAG none"),
    ("a/b", [], {}, "INVALID_ARGUMENT", "model_name: must be letters"),
    ("paused", [], {}, "FAILED_PRECONDITION", "paused is paused in Airflow"),
    ("hidden", [], {}, "PERMISSION_DENIED", "this gateway does not serve hidden"),
    ("broken", [], {}, "FAILED_PRECONDITION", "has import errors"),
    ("scheduled", [], {}, "FAILED_PRECONDITION", "does not allow manual runs"),
    ("lost", [], {}, "FAILED_PRECONDITION", "names the result task nowhere"),
    ("forbidden", [], {}, "FAILED_PRECONDITION", "Airflow forbids the gateway"),
    ("ill", [], {}, "UNAVAILABLE", "Airflow"),
    ("failing", [], {}, "ABORTED", "ValueError: too bad"),
    ("cancelled", [], {}, "ABORTED", "marked the run failed"),
    ("skipped", [], {}, "FAILED_PRECONDITION", "skipped"),
    ("large", [], {}, "OUT_OF_RANGE", "ask for fewer outputs"),
    ("slow", [], {"client_timeout": 1}, "DEADLINE_EXCEEDED", "the deadline passed"),
    ("slow", [], {"timeout": 500_000}, "DEADLINE_EXCEEDED", "the deadline passed"),
    ("echo", [], {"model_version": "2"}, "INVALID_ARGUMENT", "not the latest version"),
    ("echo", [], {"priority": 1}, "INVALID_ARGUMENT", "parameters.priority: is not served"),
    ("echo", [], {"sequence_id": 1}, "INVALID_ARGUMENT", "parameters.sequence_id: is not served"),
    ("echo", [("x", [np.nan])], {}, "INVALID_ARGUMENT", "conf.x[0]: is no JSON number"),
    ("echo", [("x", [1]), ("x", [2])], {}, "INVALID_ARGUMENT", "inputs[1].name"),
    ("strict", [("limit", [11])], {}, "INVALID_ARGUMENT", "conf.limit must be at most 10"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{error[0]}-{error[3]}")
def test_errors(client: Any, error: Any) -> None:
    """Each is the client's own exception, with our code and what happened."""
    dag, sent, others, code, says = error
    inputs = [given(name, np.array(values)) for name, values in sent]

    with pytest.raises(InferenceServerException) as caught:
        client.infer(dag, inputs, **{"client_timeout": 20, **others})

    assert caught.value.status() == f"StatusCode.{code}"
    assert says in caught.value.message()


def test_another_conf_for_a_request_id(client: Any) -> None:
    """Is refused."""
    first, second = ({"limit": limit, "request_id": "triton-reused"} for limit in (1, 2))
    client.infer("echo", [], parameters=first, client_timeout=20)

    with pytest.raises(InferenceServerException) as caught:
        client.infer("echo", [], parameters=second, client_timeout=20)

    assert caught.value.status() == "StatusCode.ALREADY_EXISTS"


def test_too_many_at_once(client: Any) -> None:
    """More calls of a DAG than there may be are refused, and only those."""
    errors: queue.Queue[Any] = queue.Queue()
    for _ in range(25):
        client.async_infer("slow", [], lambda result, error: errors.put(error), client_timeout=5)

    codes = Counter(errors.get(timeout=20).status() for _ in range(25))

    assert codes == {"StatusCode.DEADLINE_EXCEEDED": 20, "StatusCode.RESOURCE_EXHAUSTED": 5}


def test_an_output_that_there_is_not(client: Any) -> None:
    """Is an error that names those that there are."""
    with pytest.raises(InferenceServerException) as caught:
        client.infer("grid", [], outputs=[triton.InferRequestedOutput("x")], client_timeout=20)

    assert "the outputs are: return_value" in caught.value.message()


def test_shared_memory(client: Any) -> None:
    """Is refused: it would have to be the gateway's, too."""
    shared = triton.InferInput("x", [1], "FP32")
    shared.set_shared_memory("region", 4)

    with pytest.raises(InferenceServerException, match="shared_memory_region: is not served"):
        client.infer("echo", [shared], client_timeout=20)


def test_a_call_in_the_background(client: Any) -> None:
    """With a callback, which is how the blocking client does many at once."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.async_infer("grid", [], lambda result, error: answers.put((result, error)))

    result, error = answers.get(timeout=20)

    assert error is None
    assert result.as_numpy("return_value").tolist() == [[1, 2], [3, 4]]


def test_a_stream(client: Any) -> None:
    """Answers have the ids of their requests, and an error does not end it."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for index in range(3):
        array = np.array([index])
        client.async_stream_infer("echo", [given("x", array)], request_id=str(index))
    client.async_stream_infer("failing", [], request_id="7", enable_empty_final_response=True)

    came, failed = {}, []
    for _ in range(4):
        result, error = answers.get(timeout=20)
        if error is not None:
            failed.append(error.message())
        else:
            came[result.get_response().id] = result.as_numpy("x").tolist()
    client.stop_stream()

    assert came == {"0": [0], "1": [1], "2": [2]}
    assert len(failed) == 1
    assert failed[0].startswith("TASK_FAILED: ")
    assert " [id 7] [run grpc-" in failed[0]


async def test_asyncio(target: str) -> None:
    """The same by its asyncio client, many at once."""
    async with triton_aio.InferenceServerClient(target) as client:
        assert await client.is_model_ready("echo", client_timeout=10)
        calls = (
            client.infer("echo", [given("x", np.array([index]))], client_timeout=20)
            for index in range(10)
        )
        results = await asyncio.gather(*calls)
        assert [result.as_numpy("x").tolist() for result in results] == [[n] for n in range(10)]

        with pytest.raises(InferenceServerException) as caught:
            await client.infer("paused", [], client_timeout=20)
        assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"


async def test_an_asyncio_stream(target: str) -> None:
    """Ends when its requests end and all are answered."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for index in range(3):
            array = np.array([index])
            yield {
                "model_name": "echo",
                "inputs": [given("x", array)],
                "request_id": str(index),
            }

    async with triton_aio.InferenceServerClient(target) as client:
        came = [
            (result.get_response().id, error)
            async for result, error in client.stream_infer(requests(), stream_timeout=20)
        ]

    assert sorted(came) == [("0", None), ("1", None), ("2", None)]


@pytest.mark.parametrize("first", ["dag_inference", "tritonclient.grpc"])
def test_beside_our_own_client(target: str, first: str) -> None:
    """One process may load both, in any order, and call the same DAG through each."""
    script = f"""
import {first}
import dag_inference, tritonclient.grpc as triton
with dag_inference.DagInferenceClient({target!r}) as client:
    print(client.invoke("grid", timeout=20)["return_value"])
with triton.InferenceServerClient({target!r}) as client:
    print(client.infer("grid", [], client_timeout=20).as_numpy("return_value").tolist())
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["[[1, 2], [3, 4]]"] * 2
