"""The span of an RPC, from its arrival to its status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc
import structlog
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from dag_inference_server.edge.handlers import Answering, Streaming, Wraps, ending, wrapped
from dag_inference_server.edge.rpc import AUDIENCE
from dag_inference_server.tracing.tracing import caller_of, trace_id

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
    """Begins a span for each RPC of some services, under the caller's trace."""

    def __init__(self, tracer: Tracer, services: Sequence[str]) -> None:
        """Make spans with `tracer`."""
        self._tracer = tracer
        self._paths = tuple(f"/{service}/" for service in services)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler, if it is one of these services."""
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or not path.startswith(self._paths):
            return handler
        name = path.removeprefix("/")
        # A stream of requests is served as a single one is.
        stream = partial(self._stream, name)
        return wrapped(handler, Wraps(partial(self._unary, name), stream, both=stream))

    def _unary(self, name: str, serve: Answering) -> Answering:
        async def traced(request: Any, context: Any) -> Any:
            with self._span(name, context):
                return await serve(request, context)

        return traced

    def _stream(self, name: str, serve: Streaming) -> Streaming:
        async def traced(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._span(name, context):
                async for response in serve(request, context):
                    yield response

        return traced

    @contextmanager
    def _span(self, name: str, context: Any) -> Iterator[None]:
        metadata = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        service, _, method = name.partition("/")
        span = self._tracer.start_span(
            name,
            context=caller_of(metadata),
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )
        # For good: every RPC is a task of its own, and its context ends with it.
        contexts.attach(trace.set_span_in_context(span))
        AUDIENCE.set(partial(_attribute, span))
        if recorded := trace_id():
            structlog.contextvars.bind_contextvars(trace_id=recorded)

        def ended(code: int) -> None:
            span.set_attribute("rpc.grpc.status_code", code)
            if code in _OUR_FAULT:
                span.set_status(Status(StatusCode.ERROR))
            span.end()

        with ending(context, ended):
            yield


def _attribute(span: Span, about: Mapping[str, str]) -> None:
    span.set_attributes({f"dag_inference.{key}": value for key, value in about.items()})
