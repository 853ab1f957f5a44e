"""The span of an RPC, from its arrival to its status."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any

import grpc
import structlog
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from dag_inference_server.edge.handlers import Answering, Ending, Streaming, Wraps, wrapped
from dag_inference_server.edge.rpc import AUDIENCE
from dag_inference_server.tracing.tracing import IS_TRACED, caller_of, trace_id

_OUR_FAULT = {
    grpc.StatusCode.UNKNOWN.value[0],
    grpc.StatusCode.DEADLINE_EXCEEDED.value[0],
    grpc.StatusCode.UNIMPLEMENTED.value[0],
    grpc.StatusCode.INTERNAL.value[0],
    grpc.StatusCode.UNAVAILABLE.value[0],
    grpc.StatusCode.DATA_LOSS.value[0],
}
"""The statuses that make a server's span an error (OpenTelemetry's conventions for gRPC)."""


class RpcSpans(grpc.aio.ServerInterceptor):
    """Begins a span for each RPC of some services, under the caller's trace if it has one."""

    def __init__(
        self, tracer: Tracer, services: Sequence[str], chooses: Callable[[], bool]
    ) -> None:
        """Make spans with `tracer`; `chooses` says which RPCs without a trace get one."""
        self._tracer = tracer
        self._chooses = chooses
        self._paths = tuple(f"/{service}/" for service in services)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler, if it is one of these services, and perhaps recorded."""
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or not path.startswith(self._paths):
            return handler
        caller = caller_of(handler_call_details.invocation_metadata or ())
        if caller is None and not self._chooses():
            return handler
        begin = partial(self._begin, path.removeprefix("/"), caller or Context())
        # A stream of requests is served as a single one is.
        stream = partial(self._stream, begin)
        return wrapped(handler, Wraps(partial(self._unary, begin), stream, both=stream))

    def _unary(self, begin: Callable[[], Span], serve: Answering) -> Answering:
        async def traced(request: Any, context: Any) -> Any:
            with _spanning(begin(), context):
                return await serve(request, context)

        return traced

    def _stream(self, begin: Callable[[], Span], serve: Streaming) -> Streaming:
        async def traced(request: Any, context: Any) -> AsyncGenerator[Any]:
            with _spanning(begin(), context):
                async with aclosing(serve(request, context)) as responses:
                    async for response in responses:
                        yield response

        return traced

    def _begin(self, name: str, caller: Context) -> Span:
        service, _, method = name.partition("/")
        return self._tracer.start_span(
            name,
            context=caller,
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )


@contextmanager
def _spanning(span: Span, context: Any) -> Iterator[None]:
    """Serve an RPC inside the block, as what a span is about."""
    # For good: every RPC is a task of its own, and its context ends with it.
    contexts.attach(trace.set_span_in_context(span))
    IS_TRACED.set(True)
    AUDIENCE.set(partial(_attribute, span))
    if recorded := trace_id():
        structlog.contextvars.bind_contextvars(trace_id=recorded)

    def ended(code: int) -> None:
        span.set_attribute("rpc.grpc.status_code", code)
        if code in _OUR_FAULT:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    with Ending(context, ended):
        yield


def _attribute(span: Span, about: Mapping[str, str]) -> None:
    span.set_attributes({f"dag_inference.{key}": value for key, value in about.items()})
