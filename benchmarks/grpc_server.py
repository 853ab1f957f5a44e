"""A gRPC server in a process of its own: it says its port, and serves until it is told to end."""

from __future__ import annotations

import asyncio
import signal

import grpc


async def serve_until_told(server: grpc.aio.Server) -> None:
    """Serve on a free port of loopback."""
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()
    await server.stop(0)
