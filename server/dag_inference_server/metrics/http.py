"""The port for those who have no gRPC: Prometheus, and the probes of Kubernetes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

_SILENT = logging.Logger(__name__, logging.CRITICAL + 1)
"""Whoever speaks something else to the port, gRPC for example, is no news with a traceback."""


class CannotServeMetrics(Exception):
    """The address is taken, or none of this machine's."""


@asynccontextmanager
async def serving_metrics(
    address: str, registry: CollectorRegistry, is_ready: Callable[[], bool]
) -> AsyncIterator[int]:
    """Serve `/metrics`, `/livez` and `/readyz` inside the block; gives the port.

    Raises:
        CannotServeMetrics: The address is taken, or none of this machine's.
    """

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if is_ready():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="no answer of Airflow yet, or going away\n")

    app = web.Application()
    app.add_routes(
        [web.get("/metrics", metrics), web.get("/livez", livez), web.get("/readyz", readyz)]
    )
    runner = web.AppRunner(app, access_log=None, logger=_SILENT, shutdown_timeout=1)
    await runner.setup()
    host, _, port = address.rpartition(":")
    try:
        site = web.TCPSite(runner, host.strip("[]"), int(port))
        try:
            await site.start()
        except OSError as error:
            raise CannotServeMetrics(address) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
