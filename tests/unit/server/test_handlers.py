"""What is put around a handler of gRPC ends after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.edge.undecodable import RefuseUndecodable
from dag_inference_server.metrics.rpcs import RpcMetrics
from dag_inference_server.tracing.rpcs import RpcSpans

SERVICE = pb.DESCRIPTOR.services_by_name["DagInference"]


class Context:
    """Of an RPC without deadline and status."""

    def time_remaining(self) -> None:
        """For ever."""

    def invocation_metadata(self) -> tuple[()]:
        """None."""
        return ()

    def code(self) -> None:
        """None yet."""


class Details:
    """Of a stream of the service."""

    method = f"/{SERVICE.full_name}/InvokeStream"
    invocation_metadata = ()


INTERCEPTORS: dict[str, Any] = {
    "metrics": lambda: RpcMetrics(CollectorRegistry(), [SERVICE]),
    "spans": lambda: RpcSpans(
        TracerProvider().get_tracer("test"), [SERVICE.full_name], lambda: True
    ),
    "decoding": lambda: RefuseUndecodable(1000),
}


@pytest.mark.parametrize("name", INTERCEPTORS)
@pytest.mark.parametrize("takes_stream", [False, True], ids=["stream", "both"])
async def test_a_caller_that_goes_between_two_answers(name: str, takes_stream: bool) -> None:
    """The handler has ended, and told what it had to tell, when what is around it ends."""
    interceptor: Any = INTERCEPTORS[name]()
    ended: list[str] = []

    async def serve(_: object, __: object) -> AsyncGenerator[bytes]:
        try:
            yield b"first"
        finally:
            ended.append("handler")

    make: Any = (
        grpc.stream_stream_rpc_method_handler
        if takes_stream
        else grpc.unary_stream_rpc_method_handler
    )
    handler = make(serve, request_deserializer=bytes)

    async def given(_: object) -> Any:
        return handler

    wrapped = await interceptor.intercept_service(given, Details())
    serving = (wrapped.stream_stream if takes_stream else wrapped.unary_stream)(None, Context())
    assert await anext(serving) == b"first"
    await serving.aclose()

    assert ended == ["handler"]
