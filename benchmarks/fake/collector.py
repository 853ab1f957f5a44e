"""A collector of OpenTelemetry that takes spans and forgets them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from benchmarks.grpc_server import serve_until_told
from benchmarks.processes import first_line, module, running


class Collector(TraceServiceServicer):
    """Takes all."""

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take some."""
        return otlp.ExportTraceServiceResponse()


@contextmanager
def collector() -> Iterator[str]:
    """Run such a server inside the block; where it takes spans."""
    with running(module(__name__)) as process:
        yield f"http://127.0.0.1:{first_line(process)}"


async def _serve() -> None:
    server = grpc.aio.server()
    add_TraceServiceServicer_to_server(Collector(), server)  # type: ignore[no-untyped-call]
    await serve_until_told(server)


if __name__ == "__main__":
    asyncio.run(_serve())
