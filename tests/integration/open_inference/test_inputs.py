"""What tensors and parameters are in the conf of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from dag_inference_server.inference import open_inference_pb2 as pb
from fakes.airflow import FakeAirflow
from integration.gateway import Gateway
from integration.inference import echo, infer, stub, tensor
from integration.statuses import failure

PARAMS: Mapping[str, Mapping[str, Any]] = {
    "limit": {"value": 1, "schema": {"type": "integer"}},
    "maybe": {"schema": {"type": ["null", "string"]}},
    "rows": {"schema": {"type": "array", "items": {"type": "number"}}},
    "either": {"schema": {"anyOf": [{"type": "number"}, {"type": "array"}]}},
    "untyped": {"value": "text"},
    "order": {"schema": {"type": "object"}},
    "lines": {"schema": {"type": "array", "items": {"type": "object"}}},
    "image": {"schema": {"type": "string", "contentEncoding": "base64"}},
}


@pytest.mark.parametrize(
    ("sent", "conf"),
    [
        (tensor("limit", "INT32", [1], int_contents=[7]), 7),
        (tensor("limit", "INT32", [], int_contents=[7]), 7),
        (tensor("maybe", "BYTES", [1], bytes_contents=[b"yes"]), "yes"),
        (tensor("untyped", "BYTES", [1], bytes_contents=[b"yes"]), "yes"),
        (tensor("rows", "FP64", [1], fp64_contents=[0.5]), [0.5]),
        (tensor("either", "FP64", [1], fp64_contents=[0.5]), [0.5]),
        (tensor("unknown", "FP64", [1], fp64_contents=[0.5]), [0.5]),
        (tensor("order", "BYTES", [1], bytes_contents=[b'{"n": 1}']), {"n": 1}),
        (tensor("lines", "BYTES", [2], bytes_contents=[b'{"n": 1}', b"{}"]), [{"n": 1}, {}]),
        (tensor("image", "BYTES", [1], bytes_contents=[b"abc"]), "YWJj"),
        (tensor("image", "BYTES", [1], bytes_contents=[b"\x89PNG"]), "iVBORw=="),
    ],
    ids=str,
)
async def test_params_say_what_a_tensor_means(
    airflow: FakeAirflow, gateway: Gateway, sent: Any, conf: Any
) -> None:
    """A tensor of one is a scalar, a text an object or base64, where nothing else would do."""
    needed = {"order": {}, "lines": [], "rows": [], "either": 0, "image": ""}
    params = {n: {"value": needed.get(n), **p} for n, p in PARAMS.items()}
    dag = airflow.add(echo(params=params))

    await stub(gateway).ModelInfer(infer(sent), timeout=10)

    assert dag.made[0].conf == {sent.name: conf}


async def test_parameters_are_keys_of_the_conf(airflow: FakeAirflow, gateway: Gateway) -> None:
    """But for those of the call itself."""
    dag = airflow.add(echo())
    parameters = {
        "limit": pb.InferParameter(int64_param=7),
        "rate": pb.InferParameter(double_param=0.5),
        "name": pb.InferParameter(string_param="a"),
        "deep": pb.InferParameter(bool_param=True),
        "large": pb.InferParameter(uint64_param=2**64 - 1),
        "request_id": pb.InferParameter(string_param="once"),
        "timeout": pb.InferParameter(int64_param=9_000_000),
        "triton_enable_empty_final_response": pb.InferParameter(bool_param=True),
    }

    await stub(gateway).ModelInfer(infer(parameters=parameters), timeout=10)

    conf = {"limit": 7, "rate": 0.5, "name": "a", "deep": True, "large": 2**64 - 1}
    assert dag.made[0].conf == conf


@pytest.mark.parametrize(
    "text", [b'{"n": NaN}', b'{"n": 1e400}', b'{"n": "\\u0000"}', b'{"n": "\\ud800"}']
)
async def test_a_text_that_is_json_of_what_cannot_be_stored(
    airflow: FakeAirflow, gateway: Gateway, text: bytes
) -> None:
    """Is refused by its place, before a run is made."""
    dag = airflow.add(echo(params={"x": {"value": {}, "schema": {"type": "object"}}}))
    sent = tensor("x", "BYTES", [1], bytes_contents=[text])

    failed = await failure(stub(gateway).ModelInfer(infer(sent), timeout=10))

    assert (failed.reason, failed.violations) == ("REQUEST_INVALID", ["conf.x.n"])
    assert not dag.made
