"""Requests that are no message of the contract, or too large: coded errors, not a library's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from dag_inference.errors import RequestInvalid
from dag_inference_server.edge.handlers import Answering, Streaming, Wraps, wrapped
from dag_inference_server.edge.rpc import rpc


@dataclass(frozen=True, slots=True)
class _Unread:
    """Stands where the request would."""

    why: str


class RefuseUndecodable(grpc.aio.ServerInterceptor):
    """Answers requests whose bytes are no message, or too many, with REQUEST_INVALID.

    Without it, gRPC answers them itself: with the text of the exception, or with a code that
    says as well that the gateway is full.
    """

    def __init__(self, max_bytes: int) -> None:
        """Take messages of up to `max_bytes`."""
        self._max_bytes = max_bytes
        self._forgiven = cache(self._forgive)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler, if it reads messages."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.request_deserializer:
            return handler
        return self._forgiven(handler_call_details.method, handler)

    def _forgive(self, path: str, handler: Any) -> Any:
        method = path.rpartition("/")[2]
        unary, stream = partial(_unary, method), partial(_stream, method)
        return wrapped(
            handler,
            Wraps(unary, stream, both=partial(_both, method)),
            self._forgiving(handler.request_deserializer),
        )

    def _forgiving(self, deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        def attempt(data: bytes) -> Any:
            if len(data) > self._max_bytes:
                return _Unread(
                    f"the request has {len(data)} bytes, more than {self._max_bytes}: leave the "
                    "data where the DAG can read it, and send where that is"
                )
            try:
                return deserialize(data)
            except DecodeError:
                return _Unread(
                    "the request is no message of the contract, or nested deeper than protobuf "
                    "reads"
                )

        return attempt


def _unary(method: str, serve: Answering) -> Answering:
    async def serve_decoded(request: Any, context: Any) -> Any:
        if isinstance(request, _Unread):
            return await _refuse(method, context, request.why)
        return await serve(request, context)

    return serve_decoded


def _stream(method: str, serve: Streaming) -> Streaming:
    async def serve_decoded(request: Any, context: Any) -> AsyncGenerator[Any]:
        if isinstance(request, _Unread):
            await _refuse(method, context, request.why)
            return
        async with aclosing(serve(request, context)) as responses:
            async for response in responses:
                yield response

    return serve_decoded


def _both(method: str, serve: Streaming) -> Streaming:
    async def serve_decoded(requests: AsyncIterator[Any], context: Any) -> AsyncGenerator[Any]:
        async def decoded() -> AsyncIterator[Any]:
            async for request in requests:
                if isinstance(request, _Unread):
                    raise RequestInvalid(request.why)
                yield request

        try:
            async with aclosing(serve(decoded(), context)) as responses:
                async for response in responses:
                    yield response
        except RequestInvalid as error:
            # A library's own handler, which makes no status of it.
            await _refuse(method, context, error.message)

    return serve_decoded


async def _refuse(method: str, context: Any, why: str) -> None:
    async with rpc(method, context):
        raise RequestInvalid(why)
