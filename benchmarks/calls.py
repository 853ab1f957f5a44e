"""Calls that tell at once whether there is a run, many of them on few connections.

A unary call of gRPC Python shows its initial metadata, and with it the run id, only when its
response is there. Opened as a stream of one response, which is the same on the wire, it shows
it at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import grpc

from dag_inference.v1 import dag_inference_pb2 as pb

CONNECTIONS = 8

Call: TypeAlias = Any
"""`grpc.aio.UnaryStreamCall`."""

Method: TypeAlias = Callable[..., Call]

_OPTIONS = (
    # Without it, channels to one address share one connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
)

_RUN_ID = "dag-run-id"


@asynccontextmanager
async def connections(target: str, count: int = CONNECTIONS) -> AsyncIterator[Sequence[Any]]:
    """Some channels, each with a connection of its own."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(grpc.aio.insecure_channel(target, _OPTIONS))
            for _ in range(count)
        ]


def invoke(channel: grpc.aio.Channel) -> Method:
    """`Invoke` on a channel."""
    return _method(channel, "Invoke", pb.InvokeRequest)


def wait(channel: grpc.aio.Channel) -> Method:
    """`Wait` on a channel."""
    return _method(channel, "Wait", pb.WaitRequest)


async def exists(call: Call) -> Call:
    """Wait until the gateway has the run of a call; the call.

    Raises:
        RuntimeError: The call has ended without one.
    """
    if not any(key == _RUN_ID for key, _ in await call.initial_metadata() or ()):
        raise RuntimeError(f"{await call.code()}: {await call.details()}")
    return call


async def answer(call: Call) -> pb.InvokeResponse:
    """Wait for the response of a call.

    Raises:
        grpc.aio.AioRpcError: There is none.
    """
    (response,) = [response async for response in call]
    assert isinstance(response, pb.InvokeResponse)
    return response


def _method(channel: grpc.aio.Channel, name: str, request: type[Any]) -> Method:
    service = pb.DESCRIPTOR.services_by_name["DagInference"].full_name
    return channel.unary_stream(
        f"/{service}/{name}", request.SerializeToString, pb.InvokeResponse.FromString
    )
