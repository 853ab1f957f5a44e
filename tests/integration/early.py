"""Unary calls that show their run id before their response.

gRPC Python hands a unary call's initial metadata over only with its response. Opened as a
stream of one response, which is the same on the wire, it shows it at once.
"""

from __future__ import annotations

from typing import Any

import grpc

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.inference import open_inference_pb2 as inference


def started(
    channel: grpc.aio.Channel,
    request: pb.InvokeRequest | inference.ModelInferRequest,
    **options: Any,
) -> Any:
    """`Invoke` or `ModelInfer`, under way."""
    path, response = (
        ("/dag_inference.v1.DagInference/Invoke", pb.InvokeResponse)
        if isinstance(request, pb.InvokeRequest)
        else ("/inference.GRPCInferenceService/ModelInfer", inference.ModelInferResponse)
    )
    method = channel.unary_stream(
        path,
        request_serializer=type(request).SerializeToString,
        response_deserializer=response.FromString,
    )
    return method(request, **options)


async def run_id_of(call: Any) -> str:
    """Wait until the run exists."""
    (run_id,) = [value for key, value in await call.initial_metadata() if key == "dag-run-id"]
    assert isinstance(run_id, str)
    return run_id
