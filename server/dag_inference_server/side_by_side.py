"""Several servers on one port, as one: a call need not wait until those before it are taken in.

A server of grpc.aio takes in one call, and only two turns of the event loop later the next one
(`_server_main_loop` of `grpc/_cython/_cygrpc/aio/server.pyx.pxi`). A turn is as long as what all
other calls have to do in it, so that of a busy gateway a call gets its refusal late for no better
reason. The system spreads connections over servers that share a port (SO_REUSEPORT); what comes
over one connection is still taken in one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import grpc

from dag_inference_server.ports import check_free


class SideBySide(grpc.aio.Server):
    """Servers that have all in common, and serve as one."""

    def __init__(self, make: Callable[[], grpc.aio.Server], count: int) -> None:
        """Of so many servers, made with `grpc.so_reuseport`."""
        self._servers = [make() for _ in range(count)]

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """Serve with these handlers."""
        handlers = tuple(generic_rpc_handlers)
        for server in self._servers:
            server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Any]
    ) -> None:
        """Serve a service with these handlers."""
        for server in self._servers:
            server.add_registered_method_handlers(service_name, method_handlers)

    def add_insecure_port(self, address: str) -> int:
        """Listen there; gives the port.

        Raises:
            OSError: Somebody else does already, whom the calls would be shared with.
            RuntimeError: It is none of this machine's addresses.
        """
        check_free(address)
        host = address.rpartition(":")[0]
        first, *others = self._servers
        chosen = first.add_insecure_port(address)
        for server in others:
            server.add_insecure_port(f"{host}:{chosen}")
        return chosen

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> NoReturn:
        """There is no such port."""
        raise NotImplementedError

    async def start(self) -> None:
        """Begin to serve."""
        for server in self._servers:
            await server.start()

    async def stop(self, grace: float | None) -> None:
        """Take in no more calls, and give those under way so many seconds."""
        await asyncio.gather(*(server.stop(grace) for server in self._servers))

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; whether it has not within `timeout` seconds."""
        waits = (server.wait_for_termination(timeout) for server in self._servers)
        return any(await asyncio.gather(*waits))
