"""What every interceptor does with a handler of gRPC: put something around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from dag_inference_server.edge.deadline import Deadline, seconds_left
from dag_inference_server.edge.wire import serialized

Answering: TypeAlias = Callable[..., Awaitable[Any]]
"""Answers with what it returns."""
Streaming: TypeAlias = Callable[..., AsyncGenerator[Any]]
"""Answers with what it yields. Who wraps one closes it: a caller may go while what was yielded is
sent, and then its own end would come when the wrap has long had its."""


@dataclass(frozen=True, slots=True)
class Wraps:
    """What is put around a handler, by its kind; `None` leaves those as they are."""

    unary: Callable[[Answering], Answering]
    """One request, one response."""
    stream: Callable[[Streaming], Streaming]
    """One request, responses that are yielded."""
    both: Callable[[Streaming], Streaming] | None = None
    """Requests and responses."""


def wrapped(handler: Any, wraps: Wraps, deserializer: Callable[[bytes], Any] | None = None) -> Any:
    """The handler, with what its kind is wrapped in, and perhaps with another deserializer."""
    make: Callable[..., Any]
    wrap: Callable[[Any], Any] | None
    match handler.request_streaming, handler.response_streaming:
        case False, False:
            make, wrap, serve = (
                grpc.unary_unary_rpc_method_handler,
                wraps.unary,
                handler.unary_unary,
            )
        case False, True:
            make, wrap, serve = (
                grpc.unary_stream_rpc_method_handler,
                wraps.stream,
                handler.unary_stream,
            )
        case True, True:
            make, wrap, serve = (
                grpc.stream_stream_rpc_method_handler,
                wraps.both,
                handler.stream_stream,
            )
        case _:
            return handler
    if wrap is None:
        return handler
    return make(
        wrap(serve),
        request_deserializer=deserializer or handler.request_deserializer,
        # A handler may answer with bytes, and a library's own with a message of its own.
        response_serializer=serialized,
    )


class Ending:
    """Serves an RPC inside the block, and tells the number of the status that it ends with.

    No generator: every RPC goes through it, and through one of those at five times the cost.
    """

    __slots__ = ("_context", "_start", "_tell")

    def __init__(self, context: Any, tell: Callable[[int], None]) -> None:
        """Call `tell` when the RPC of `context` has ended."""
        self._context = context
        self._start = time.monotonic()
        self._tell = tell

    def __enter__(self) -> None:
        """It begins."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """It has ended."""
        match error:
            case None | grpc.aio.AbortError():
                code = _code_of(self._context)
            case asyncio.CancelledError() | GeneratorExit():
                ago = time.monotonic() - self._start
                code = Deadline(seconds_left(self._context, ago), ago).code.value[0]
            case _:
                code = grpc.StatusCode.UNKNOWN.value[0]
        self._tell(code)


def _code_of(context: Any) -> int:
    code = context.code()
    # Unset, it is 0 or `None`; set by `abort`, whatever `abort` was given.
    return code.value[0] if isinstance(code, grpc.StatusCode) else code or 0
