"""Requests that are no message of the contract: a coded error, not a library's exception."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from inspect import isasyncgenfunction
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from dag_inference.errors import RequestInvalid
from dag_inference_server.edge.status import errors_as_status


class _Undecodable:
    """Stands where the request would."""


class RefuseUndecodable(grpc.aio.ServerInterceptor):
    """Answers requests whose bytes are no message with REQUEST_INVALID.

    Without it, gRPC answers them itself, with the text of the exception.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handlers that take one request; the others are libraries' own."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming or not handler.request_deserializer:
            return handler
        options = {
            "request_deserializer": _forgiving(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming and isasyncgenfunction(handler.unary_stream):
            return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream), **options)
        if handler.response_streaming:
            # It writes what it has to say, as the health service does, and yields nothing.
            return grpc.unary_stream_rpc_method_handler(_unary(handler.unary_stream), **options)
        return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary), **options)


def _forgiving(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def attempt(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _Undecodable()

    return attempt


def _unary(serve: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def serve_decoded(request: Any, context: Any) -> Any:
        if isinstance(request, _Undecodable):
            await _refuse(context)
        return await serve(request, context)

    return serve_decoded


def _stream(serve: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    async def serve_decoded(request: Any, context: Any) -> AsyncIterator[Any]:
        if isinstance(request, _Undecodable):
            await _refuse(context)
        async for response in serve(request, context):
            yield response

    return serve_decoded


async def _refuse(context: Any) -> NoReturn:
    async with errors_as_status(context):
        raise RequestInvalid(
            "the request is no message of the contract, or nested deeper than protobuf reads"
        )
    raise AssertionError("abort does not return")
