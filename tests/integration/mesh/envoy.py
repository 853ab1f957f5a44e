"""The example's Envoy, a real one, of which only ports and paths are changed."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[3]
COMMAND = ROOT / ".venv-envoy" / "bin" / "envoy"
EXAMPLE = ROOT / "examples" / "envoy" / "envoy.yaml"
DESCRIPTORS = ROOT / "examples" / "envoy" / "dag_inference.binpb"
PORTS = ("port_value: 50051", "port_value: 50052")
"""Of the gateways, as the example has them."""


@dataclass(frozen=True, slots=True)
class Envoy:
    """One that runs."""

    port: int
    admin: str
    """The URL of what it tells of itself."""
    session: aiohttp.ClientSession

    @property
    def target(self) -> str:
        """Where calls go."""
        return f"127.0.0.1:{self.port}"

    async def post(
        self, method: str, body: Mapping[str, Any], **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Call a method by plain HTTP; status and JSON of the answer."""
        url = f"http://{self.target}/dag_inference.v1.DagInference/{method}"
        # As a file: of large bytes aiohttp warns.
        data = io.BytesIO(json.dumps(body).encode())
        headers |= {"Content-Type": "application/json"}
        async with self.session.post(url, data=data, headers=headers) as answer:
            return answer.status, await answer.json()

    async def stat(self, name: str) -> int:
        """One of its counters and gauges, of the cluster of gateways."""
        query = f"stats?format=json&filter=^cluster.gateways.{name}$"
        (found,) = (await self._get(query))["stats"]
        value: int = found["value"]
        return value

    async def serving(self) -> set[int]:
        """The ports of the gateways that get calls."""
        healthy = {"eds_health_status": "HEALTHY"}
        return {port for port, host in await self._hosts() if host["health_status"] == healthy}

    async def serve(self, gateways: int) -> None:
        """Wait until so many gateways get calls."""
        async with asyncio.timeout(30):
            while len(await self.serving()) != gateways:  # noqa: ASYNC110 - by a request each time
                await asyncio.sleep(0.05)

    async def active(self, port: int) -> int:
        """How many calls are under way at the gateway on that port."""
        (host,) = [host for at, host in await self._hosts() if at == port]
        (value,) = [stat["value"] for stat in host["stats"] if stat["name"] == "rq_active"]
        return int(value)

    async def _hosts(self) -> list[tuple[int, dict[str, Any]]]:
        clusters = (await self._get("clusters?format=json"))["cluster_statuses"]
        (hosts,) = [each["host_statuses"] for each in clusters if each["name"] == "gateways"]
        return [(host["address"]["socket_address"]["port_value"], host) for host in hosts]

    async def _get(self, query: str) -> Any:
        async with self.session.get(f"{self.admin}/{query}") as answer:
            return await answer.json()


@asynccontextmanager
async def envoy(
    gateways: Iterable[int], folder: Path, changes: Mapping[str, str] | None = None
) -> AsyncIterator[Envoy]:
    """Run one inside the block, before gateways on these two ports.

    Args:
        gateways: The ports.
        folder: For its files.
        changes: What else is another in the example's text.
    """
    ports = (f"port_value: {port}" for port in gateways)
    replaced = {
        "port_value: 9901": "port_value: 0",
        "port_value: 8080": "port_value: 0",
        "proto_descriptor: examples/envoy/dag_inference.binpb": f"proto_descriptor: {DESCRIPTORS}",
        **dict(zip(PORTS, ports, strict=True)),
        **(changes or {}),
    }
    text, times = re.subn("|".join(replaced), lambda old: replaced[old[0]], EXAMPLE.read_text())
    assert times == len(replaced), "the example has changed"
    (folder / "envoy.yaml").write_text(text)
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *("--config-path", folder / "envoy.yaml"),
            *("--admin-address-path", folder / "admin"),
            *("--concurrency", "1"),
            *("--log-level", "warning"),
            "--disable-hot-restart",
            stderr=log,
            start_new_session=True,
        )
    try:
        async with aiohttp.ClientSession() as session:
            admin = await _admin(process, folder)
            yield Envoy(await _port(session, admin), admin, session)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _admin(process: asyncio.subprocess.Process, folder: Path) -> str:
    """Where it tells of itself, once it has written that down."""
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None, (folder / "envoy.log").read_text()
            if (folder / "admin").is_file() and (address := (folder / "admin").read_text()):
                return f"http://{address}"
            await asyncio.sleep(0.02)


async def _port(session: aiohttp.ClientSession, admin: str) -> int:
    """Where it listens, once it does: after its first look at the gateways."""
    async with asyncio.timeout(30):
        while True:
            async with session.get(f"{admin}/listeners?format=json") as answer:
                listeners = (await answer.json()).get("listener_statuses", ())
            async with session.get(f"{admin}/ready") as answer:
                if answer.status == 200 and listeners:
                    port: int = listeners[0]["local_address"]["socket_address"]["port_value"]
                    return port
            await asyncio.sleep(0.02)
