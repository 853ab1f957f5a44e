"""A collector of traces that keeps what it gets, and a caller that has a trace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from integration.waiting import eventually

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
"""The trace and the span of the caller."""

QUICKLY = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
"""The environment of a gateway that sends its spans soon, in milliseconds."""


def traced(flags: str = "01", trace_id: str = TRACE) -> list[tuple[str, str]]:
    """The metadata of a call in a trace, sampled unless said otherwise."""
    return [("traceparent", f"00-{trace_id}-{CALLER}-{flags}")]


class Collector(TraceServiceServicer):
    """Takes spans by OTLP, as a real collector does."""

    def __init__(self) -> None:
        """None have come."""
        self.spans: list[Any] = []
        self.resources: list[Any] = []

    async def Export(  # noqa: N802
        self, request: Any, context: Any
    ) -> Any:
        """Take some."""
        for resource in request.resource_spans:
            self.resources.append(resource.resource)
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return otlp.ExportTraceServiceResponse()

    async def call(self, trace_id: str = TRACE) -> tuple[Any, dict[str, Any]]:
        """The span of the one call in a trace, and those below it by name."""

        def found() -> list[Any]:
            spans = [span for span in self.spans if span.trace_id.hex() == trace_id]
            return [span for span in spans if span.parent_span_id.hex() == CALLER]

        (span,) = await eventually(found)
        below = {s.name: s for s in self.spans if s.parent_span_id == span.span_id}
        return span, below


def attributes(span: Any) -> dict[str, Any]:
    """The attributes of a span or resource."""
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


@asynccontextmanager
async def collecting(
    collector: Collector | None = None,
) -> AsyncIterator[tuple[Collector, str]]:
    """A collector that listens inside the block, and its address."""
    server, collector = grpc.aio.server(), collector or Collector()
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        await server.stop(None)
