"""The port for those who have no gRPC: Prometheus, and the probes of Kubernetes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

log = structlog.get_logger(__name__)

_SILENT = logging.Logger(__name__, logging.CRITICAL + 1)
"""Whoever speaks something else to the port, gRPC for example, is no news with a traceback."""

_LAST_SCRAPE = 0.2
"""Seconds for a scrape that is under way when the gateway ends, of its grace (`drain.py`)."""

_AT_ONCE = 16 * 1024
"""Bytes that are compressed in the event loop. More are in a thread."""


class CannotServeMetrics(Exception):
    """The address is taken, or none of this machine's."""


@asynccontextmanager
async def serving_metrics(
    address: str,
    registry: CollectorRegistry,
    why_not_ready: Callable[[], str],
    look: Callable[[], None],
) -> AsyncIterator[int]:
    """Serve `/metrics`, `/livez` and `/readyz` inside the block; gives the port.

    Args:
        address: Where.
        registry: What is read at each scrape, in a thread.
        why_not_ready: What `/readyz` says; nothing if calls are served.
        look: Is called before that, in the event loop.

    Raises:
        CannotServeMetrics: The address is taken, or none of this machine's.
    """

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        try:
            look()
            # Many thousand lines take some tenths of a second, which no call has to spare.
            body = await asyncio.to_thread(encode, registry)
        except Exception:
            log.exception("metrics_failed")
            raise
        response = web.Response(
            body=body, headers={"Content-Type": content_type}, zlib_executor_size=_AT_ONCE
        )
        response.enable_compression()
        return response

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if why_not := why_not_ready():
            return web.Response(status=503, text=f"not ready: {why_not}\n")
        return web.Response(text="ok\n")

    app = web.Application()
    app.add_routes(
        [web.get("/metrics", metrics), web.get("/livez", livez), web.get("/readyz", readyz)]
    )
    runner = web.AppRunner(app, access_log=None, logger=_SILENT, shutdown_timeout=_LAST_SCRAPE)
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
