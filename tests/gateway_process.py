"""The gateway as a process of its own, which can be killed and started again on its port."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGTERM, Signals

import psutil

from dag_inference_server.settings import ENV_PREFIX
from fakes.airflow import FakeAirflow

_PATIENCE = 60
"""Seconds that it has to end."""

_COMMAND = Path(sys.executable).with_name("dag-inference-server")


def environment_for(airflow: FakeAirflow, **settings: str) -> dict[str, str]:
    """The environment of a gateway before a fake Airflow, with more settings."""
    named = {
        "AIRFLOW_URL": airflow.url,
        "AIRFLOW_USERNAME": airflow.accounts.username,
        "AIRFLOW_PASSWORD": airflow.accounts.password,
        **settings,
    }
    prefixed = {f"{ENV_PREFIX}{name}": value for name, value in named.items()}
    return {"PATH": os.environ["PATH"], **prefixed}


class GatewayProcess:
    """`dag-inference-server serve`."""

    def __init__(self, environment: Mapping[str, str], log: Path | None = None) -> None:
        """Prepare.

        Args:
            environment: All of the process's, the settings among it.
            log: The file that its log goes to, if anywhere.
        """
        self._log = log or Path(os.devnull)
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0

    @property
    def target(self) -> str:
        """Where it listens, from its first start on."""
        return f"127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """Its port, from its first start on."""
        return self._port

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process
        return self._process.pid

    @property
    def metrics_port(self) -> int:
        """The other port that it listens on, where its metrics are."""
        sockets = psutil.Process(self.pid).net_connections("tcp")
        ports = {s.laddr.port for s in sockets if s.status == psutil.CONN_LISTEN} - {self._port}
        (port,) = ports
        return int(port)

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        assert self._process is None
        log = self._log.open("ab")
        self._process = await asyncio.create_subprocess_exec(
            _COMMAND,
            "serve",
            env={
                **self._environment,
                f"{ENV_PREFIX}LISTEN": self.target,
                f"{ENV_PREFIX}METRICS_LISTEN": "127.0.0.1:0",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        log.close()
        assert self._process.stdout
        said = (await self._process.stdout.readline()).decode()
        found = re.search(r"gRPC on port (\d+)", said)
        assert found, "it does not serve"
        self._port = int(found[1])

    async def kill(self) -> None:
        """End it as no program can help, `kill -9`."""
        assert self._process
        self._process.kill()
        await self._process.communicate()
        self._process = None

    def signal(self, number: Signals = SIGTERM) -> None:
        """Ask it to end, or to hurry."""
        assert self._process
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait until it has ended, and tell its exit code."""
        assert self._process
        await self._process.communicate()
        code, self._process = self._process.returncode, None
        assert code is not None
        return code

    async def end(self) -> None:
        """End it in order, if it runs.

        Raises:
            TimeoutError: It did not end, and was killed.
        """
        if self._process:
            self.signal()
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self.ended()
            except TimeoutError:
                await self.kill()
                raise


@asynccontextmanager
async def gateway_process(
    environment: Mapping[str, str], log: Path | None = None
) -> AsyncIterator[GatewayProcess]:
    """A gateway that serves; it is ended with the block, whatever happens in it."""
    process = GatewayProcess(environment, log)
    try:
        await process.start()
        yield process
    finally:
        await process.end()
