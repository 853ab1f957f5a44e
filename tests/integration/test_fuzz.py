"""Bytes that nobody meant: the gateway lives, and shows nothing of itself."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.inference import open_inference_pb2 as inference
from dag_inference_server.tensors.datatypes import DATATYPES
from fakes.airflow import Dag, FakeAirflow, steps
from integration.gateway import Gateway

SERVICES = (
    pb.DESCRIPTOR.services_by_name["DagInference"],
    inference.DESCRIPTOR.services_by_name["GRPCInferenceService"],
)
METHODS = [f"/{each.full_name}/{method.name}" for each in SERVICES for method in each.methods]
OF_PYTHON = re.compile(r"Traceback|Error\b|Exception|object at 0x|<class|\.py")

messages = st.builds(
    pb.InvokeRequest,
    dag_id=st.text(max_size=20),
    conf_json=st.text(max_size=50),
    request_id=st.text(max_size=20),
    result_task_ids=st.lists(st.text(max_size=5), max_size=3),
) | st.builds(
    inference.ModelInferRequest,
    model_name=st.just("dag"),
    inputs=st.lists(
        st.builds(
            inference.ModelInferRequest.InferInputTensor,
            name=st.text(max_size=5),
            datatype=st.sampled_from([*DATATYPES, "FP8"]),
            shape=st.lists(st.integers(-1, 2**40), max_size=4),
        ),
        max_size=3,
    ),
    raw_input_contents=st.lists(st.binary(max_size=9), max_size=3),
)
requests = st.binary(max_size=300) | st.builds(
    # What begins as a message, and goes on as none.
    lambda message, noise: message.SerializeToString() + noise,
    messages,
    st.binary(max_size=20),
)


@pytest.mark.parametrize("method", METHODS)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sent=st.lists(requests, min_size=20, max_size=20))
async def test_any_bytes_get_a_coded_answer(
    airflow: FakeAirflow, gateway: Gateway, method: str, sent: list[bytes]
) -> None:
    """Of the contract's codes, without a word of Python; and the next call is served."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    call: Any = gateway.channel.unary_stream(method)

    errors = await asyncio.gather(*(_error(call(data, timeout=10)) for data in sent))

    for error in filter(None, errors):
        assert error.code() not in {
            grpc.StatusCode.UNKNOWN,
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        }, error
        assert not OF_PYTHON.search(error.details() or "")
        assert dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    answer = await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=10)
    assert answer.result_kind == pb.RESULT_KIND_WRAPPED_VALUE


async def _error(call: Any) -> grpc.aio.AioRpcError | None:
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return error
    return None
