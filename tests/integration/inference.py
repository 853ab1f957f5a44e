"""What tests of the Open Inference Protocol send, and how they read what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from dag_inference_server.inference import open_inference_pb2 as pb
from dag_inference_server.inference import open_inference_pb2_grpc as rpc
from dag_inference_server.tensors.datatypes import BYTES, DATATYPES, unpack
from dag_inference_server.tensors.nesting import nested
from fakes.airflow import Dag, Run
from integration.gateway import Gateway

Tensor = pb.ModelInferRequest.InferInputTensor


def stub(gateway: Gateway) -> rpc.GRPCInferenceServiceAsyncStub:
    """The generated stub."""
    return rpc.GRPCInferenceServiceStub(gateway.channel)


def returning(value: Any, dag_id: str = "dag", **others: Any) -> Dag:
    """A DAG whose runs return a value at once."""
    return Dag(dag_id, script=[lambda run: run.finish("predict", value)], **others)


def echo(dag_id: str = "echo", **others: Any) -> Dag:
    """A DAG that returns its conf at once."""

    def answer(run: Run) -> None:
        run.finish("predict", run.conf)

    return Dag(dag_id, script=[answer], **others)


def tensor(name: str, datatype: str, shape: Sequence[int], **contents: Any) -> Tensor:
    """A tensor with typed contents."""
    return Tensor(
        name=name,
        datatype=datatype,
        shape=shape,
        contents=pb.InferTensorContents(**contents) if contents else None,
    )


async def well(gateway: Gateway) -> None:
    """Wait until Airflow has said that it is well, for which it is asked apart."""
    await gateway.ready()
    async with asyncio.timeout(10):
        while await gateway.health("airflow") != "SERVING":
            pass


def infer(*inputs: Tensor, dag_id: str = "echo", **others: Any) -> pb.ModelInferRequest:
    """A request."""
    return pb.ModelInferRequest(model_name=dag_id, inputs=inputs, **others)


def values(response: pb.ModelInferResponse) -> dict[str, Any]:
    """The outputs as plain values, by name."""
    assert len(response.outputs) == len(response.raw_output_contents)
    return {
        output.name: _value(output, raw)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def kinds(response: pb.ModelInferResponse) -> dict[str, tuple[str, list[int]]]:
    """The datatypes and shapes of the outputs, by name."""
    return {output.name: (output.datatype, [*output.shape]) for output in response.outputs}


def _value(output: pb.ModelInferResponse.InferOutputTensor, raw: bytes) -> Any:
    datatype, count = DATATYPES[output.datatype], 1
    for length in output.shape:
        count *= length
    elements = unpack(datatype, count, raw)
    if datatype is BYTES:
        elements = [each.decode() for each in elements]
    value = nested(elements, output.shape)
    is_json = output.parameters["content_type"].string_param == "application/json"
    return json.loads(str(value)) if is_json else value
