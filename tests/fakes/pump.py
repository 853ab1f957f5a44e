"""A wire between a client and a server that can be cut without a word, as by a power failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Pump:
    """Hands bytes on in both directions, until it is frozen."""

    def __init__(self, port: int) -> None:
        """Lead to this port."""
        self._port = port
        self._flows = asyncio.Event()
        self._flows.set()
        self.address = ""
        """Where to connect."""
        self.connections = 0
        """How many there were so far."""
        self.pieces = 0
        """How often a client has sent something."""

    def freeze(self) -> None:
        """Hand on nothing more, and close nothing."""
        self._flows.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        with suppress(OSError):
            await asyncio.gather(self._pump(reader, back, count=True), self._pump(there, writer))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool = False
    ) -> None:
        try:
            while data := await reader.read(65536):
                self.pieces += count
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def pump_to(port: int) -> AsyncIterator[Pump]:
    """Run one inside the block."""
    pump = Pump(port)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(pump._connected(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    pump.address = "{}:{}".format(*server.sockets[0].getsockname())
    try:
        yield pump
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
