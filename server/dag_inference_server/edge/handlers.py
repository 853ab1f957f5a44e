"""What every interceptor does with a handler of gRPC: put something around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from dag_inference_server.edge.deadline import Deadline, seconds_left
from dag_inference_server.edge.wire import serialized

Answering: TypeAlias = Callable[..., Awaitable[Any]]
"""Answers with what it returns."""
Streaming: TypeAlias = Callable[..., AsyncIterator[Any]]
"""Answers with what it yields."""


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


@contextmanager
def ending(context: Any, tell: Callable[[int], None]) -> Iterator[None]:
    """Serve an RPC inside the block, and tell the number of the status that it ends with."""
    deadline = Deadline(seconds_left(context))
    code = grpc.StatusCode.UNKNOWN.value[0]
    try:
        yield
        code = _code_of(context)
    except (asyncio.CancelledError, GeneratorExit):
        code = deadline.code.value[0]
        raise
    except grpc.aio.AbortError:
        code = _code_of(context)
        raise
    finally:
        tell(code)


def _code_of(context: Any) -> int:
    code = context.code()
    # Unset, it is 0 or `None`; set by `abort`, whatever `abort` was given.
    return code.value[0] if isinstance(code, grpc.StatusCode) else code or 0
