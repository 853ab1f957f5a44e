"""The families of go-grpc-middleware, which boards and alerts know by name.

Names, labels and types as in its `providers/prometheus/server_metrics.go` and
`reporter.go`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import lru_cache, partial
from typing import Any

import grpc
from prometheus_client import CollectorRegistry

from dag_inference_server.edge.handlers import Answering, Ending, Streaming, Wraps, wrapped
from dag_inference_server.metrics.families import Count, Counter, Histogram, Times

_HANDLERS = 64
"""Of one method that are kept: its own, and those that refuse calls in its place. Those of calls
that have something of their own around them, such as a span, come and go."""

_METHOD = ("grpc_type", "grpc_service", "grpc_method")

CODES = {
    code.value[0]: "".join(part.capitalize() for part in code.name.split("_"))
    if code is not grpc.StatusCode.OK
    else "OK"
    for code in grpc.StatusCode
} | {grpc.StatusCode.CANCELLED.value[0]: "Canceled"}
"""Go's names of the codes, by number (grpc-go, `codes/code_string.go`)."""


class RpcMetrics(grpc.aio.ServerInterceptor):
    """Counts the RPCs of every service on a server. Paths that lead nowhere make no series."""

    def __init__(self, registry: CollectorRegistry, services: Iterable[Any]) -> None:
        """Begin every series of these services with zero, so that the first error is an increase.

        Args:
            registry: Where.
            services: Their descriptors.
        """
        self._started = Counter("grpc_server_started", "RPCs that have begun.", _METHOD, registry)
        self._handled = Counter(
            "grpc_server_handled",
            "RPCs that have ended, by their status.",
            (*_METHOD, "grpc_code"),
            registry,
        )
        self._received = Counter(
            "grpc_server_msg_received", "Messages received.", _METHOD, registry
        )
        self._sent = Counter("grpc_server_msg_sent", "Messages sent.", _METHOD, registry)
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "How long RPCs took, from their arrival to their status.",
            _METHOD,
            registry,
        )
        self._methods: dict[str, _Method] = {}
        for service in services:
            for method in service.methods:
                labels = (
                    _kind(method.client_streaming, method.server_streaming),
                    service.full_name,
                    method.name,
                )
                self._methods[f"/{service.full_name}/{method.name}"] = self._method(labels)

    def _method(self, labels: tuple[str, str, str]) -> _Method:
        return _Method(
            self._started(*labels),
            {code: self._handled(*labels, name) for code, name in CODES.items()},
            self._received(*labels),
            self._sent(*labels),
            self._seconds(*labels),
        )

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler, if there is one and its service is known."""
        handler = await continuation(handler_call_details)
        method = self._methods.get(handler_call_details.method)
        return handler if handler is None or method is None else method.counted(handler)


class _Method:
    """The series of one method, looked up once."""

    def __init__(
        self,
        started: Count,
        handled: Mapping[int, Count],
        received: Count,
        sent: Count,
        seconds: Times,
    ) -> None:
        self._started = started
        self._handled = handled
        self.received = received
        self.sent = sent
        self._seconds = seconds
        # There are few, and what is made for each call is kept until the call has ended.
        self.counted = lru_cache(_HANDLERS)(self._count)

    def _count(self, handler: Any) -> Any:
        """The handler, with every RPC of it counted."""
        unary, stream = partial(_unary, self), partial(_stream, self)
        return wrapped(handler, Wraps(unary, stream, both=partial(_both, self)))

    def rpc(self, context: Any) -> Ending:
        """Count one RPC that begins, and inside the block ends, whichever way."""
        self._started.inc()
        return Ending(context, partial(self._ended, time.monotonic()))

    def _ended(self, start: float, code: int) -> None:
        self._handled[code].inc()
        self._seconds.observe(time.monotonic() - start)


def _unary(method: _Method, serve: Answering) -> Answering:
    async def counted(request: Any, context: Any) -> Any:
        with method.rpc(context):
            method.received.inc()
            response = await serve(request, context)
            if response is not None:
                method.sent.inc()
            return response

    return counted


def _stream(method: _Method, serve: Streaming) -> Streaming:
    async def counted(request: Any, context: Any) -> AsyncGenerator[Any]:
        with method.rpc(context):
            method.received.inc()
            async with aclosing(serve(request, context)) as responses:
                async for response in responses:
                    method.sent.inc()
                    yield response

    return counted


def _both(method: _Method, serve: Streaming) -> Streaming:
    async def counted(requests: AsyncIterator[Any], context: Any) -> AsyncGenerator[Any]:
        async def received() -> AsyncIterator[Any]:
            async for request in requests:
                method.received.inc()
                yield request

        with method.rpc(context):
            async with aclosing(serve(received(), context)) as responses:
                async for response in responses:
                    method.sent.inc()
                    yield response

    return counted


def _kind(client_streams: bool, server_streams: bool) -> str:
    match client_streams, server_streams:
        case False, False:
            return "unary"
        case True, False:
            return "client_stream"
        case False, True:
            return "server_stream"
        case _:
            return "bidi_stream"
