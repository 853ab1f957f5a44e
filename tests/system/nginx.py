"""The example's nginx, a real one, of which only ports and paths are changed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from system.conftest import EXAMPLES

PORTS = ("server 127.0.0.1:50051", "server 127.0.0.1:50052")
"""Of the gateways, as the example has them."""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@asynccontextmanager
async def nginx(
    gateways: Iterable[int], folder: Path, changes: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """Run one inside the block, before gateways on these two ports; gives where calls go.

    Args:
        gateways: The ports.
        folder: For its files.
        changes: What else is another in the example's text.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        target = "{}:{}".format(*free.getsockname())
    servers = (f"server 127.0.0.1:{port}" for port in gateways)
    # As root's, they would be out of everybody else's reach.
    paths = " ".join(f"{name}_temp_path {folder / name};" for name in _TEMPORARY)
    replaced = {
        "listen 127.0.0.1:8080": f"listen {target}",
        "access_log off;": f"access_log off; {paths}",
        **dict(zip(PORTS, servers, strict=True)),
        **(changes or {}),
    }
    text = (EXAMPLES / "nginx" / "nginx.conf").read_text()
    text, times = re.subn("|".join(replaced), lambda old: replaced[old[0]], text)
    assert times == len(replaced), "the example has changed"
    (folder / "nginx.conf").write_text(text)
    process = await asyncio.create_subprocess_exec(
        "/usr/sbin/nginx",
        *("-c", folder / "nginx.conf"),
        *("-e", folder / "nginx.log"),
        *("-g", f"daemon off; pid {folder / 'nginx.pid'};"),
        start_new_session=True,
    )
    try:
        await _ready(process, target, folder)
        yield target
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


async def _ready(process: asyncio.subprocess.Process, target: str, folder: Path) -> None:
    host, _, port = target.rpartition(":")
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None, (folder / "nginx.log").read_text()
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
