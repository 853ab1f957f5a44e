"""A bare grpc.aio server with the gateway's messages and options: what gRPC alone costs.

Its `Invoke` echoes the conf as the result, as late as the caller wants it; its `Wait` is
parked for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import grpc

from benchmarks.gateway import GatewayProcess
from benchmarks.grpc_server import serve_until_told
from benchmarks.processes import first_line, module, running
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.server_max_unrequested_time_in_server", 3600),
)
"""As the gateway's (`server.py`), which are of eight servers that share its port."""


class Echo(rpc.DagInferenceServicer):
    """Answers without having done anything. The other methods are the stubs' own refusals."""

    async def Invoke(self, request: pb.InvokeRequest, context: Any) -> pb.InvokeResponse:  # noqa: N802
        """Echo, after the `run_timeout` if there is one; `timing.detection` is what that took."""
        await context.send_initial_metadata((("dag-run-id", "grpc-0"),))
        response = pb.InvokeResponse(
            result=request.conf,
            result_kind=pb.RESULT_KIND_OBJECT,
            run=pb.Run(dag_id=request.dag_id, run_id="grpc-0", state=pb.RUN_STATE_SUCCESS),
        )
        if request.HasField("run_timeout"):
            start = time.monotonic()
            await asyncio.sleep(request.run_timeout.ToTimedelta().total_seconds())
            waited = timedelta(seconds=time.monotonic() - start)
            response.timing.detection.FromTimedelta(waited)
        return response

    async def Wait(self, request: pb.WaitRequest, context: Any) -> pb.InvokeResponse:  # noqa: N802
        """Say that it waits, and wait."""
        await context.send_initial_metadata((("dag-run-id", request.run_id),))
        await asyncio.get_running_loop().create_future()
        raise AssertionError("it is for ever")


@contextmanager
def echo() -> Iterator[GatewayProcess]:
    """Run such a server inside the block."""
    with running(module(__name__)) as process:
        yield GatewayProcess(f"127.0.0.1:{first_line(process)}", process)


async def _serve() -> None:
    server = grpc.aio.server(options=_OPTIONS)
    rpc.add_DagInferenceServicer_to_server(Echo(), server)  # type: ignore[abstract]
    await serve_until_told(server)


if __name__ == "__main__":
    asyncio.run(_serve())
