"""A collector of OpenTelemetry that takes spans and forgets them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

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
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(_serve())
