"""The standard health service, as far as the gateway itself is concerned."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from dag_inference.v1 import dag_inference_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["DagInference"].full_name

_NAMES = ("", SERVICE)
"""The server as a whole, and the service."""


class Health:
    """NOT_SERVING until told otherwise."""

    def __init__(self) -> None:
        """Serve nothing yet."""
        self._servicer = health_aio.HealthServicer()
        self.is_serving = False

    async def add_to(self, server: grpc.aio.Server) -> None:
        """Answer health checks on this server."""
        await self.set_serving(False)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, serving: bool) -> None:
        """Say whether calls are served."""
        self.is_serving = serving
        answer = health_pb2.HealthCheckResponse
        for name in _NAMES:
            await self._servicer.set(name, answer.SERVING if serving else answer.NOT_SERVING)
