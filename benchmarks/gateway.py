"""The gateway in a process of its own, as `dag-inference-server serve` starts it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.processes import ENVIRONMENT, first_line, running

_READY_WITHIN = 30


@dataclass(frozen=True, slots=True)
class Address:
    """Where an Airflow answers, and for whom."""

    url: str
    username: str
    password: str


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A gateway that serves."""

    target: str
    process: Popen[str]

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid


@contextmanager
def gateway(
    airflow: Address, layout: int | None = None, /, **settings: str
) -> Iterator[GatewayProcess]:
    """Run a gateway in front of an Airflow inside the block, with settings of one's own.

    Those of the same `layout` have what they share at the same places in memory. That is left to
    chance otherwise, and one process is a tenth slower than another for as long as it lives.
    """
    command = [str(Path(sys.executable).with_name("dag-inference-server")), "serve"]
    if layout is not None:
        command = ["setarch", "--addr-no-randomize", *command]
    environment = ENVIRONMENT | {
        "DAG_INFERENCE_AIRFLOW_URL": airflow.url,
        "DAG_INFERENCE_AIRFLOW_USERNAME": airflow.username,
        "DAG_INFERENCE_AIRFLOW_PASSWORD": airflow.password,
        "DAG_INFERENCE_LISTEN": "127.0.0.1:0",
        "DAG_INFERENCE_METRICS_LISTEN": "127.0.0.1:0",
        "DAG_INFERENCE_LOG_LEVEL": "warning",
        "DAG_INFERENCE_SHUTDOWN_GRACE": "0",
        **{f"DAG_INFERENCE_{name}": value for name, value in settings.items()},
        **({} if layout is None else {"PYTHONHASHSEED": str(layout)}),
    }
    with running(command, environment) as process:
        target = f"127.0.0.1:{first_line(process).rpartition(' ')[2]}"
        _await_health(target)
        yield GatewayProcess(target, process)


def metrics_port(pid: int, target: str) -> int:
    """The other port that a gateway listens on."""
    sockets = psutil.Process(pid).net_connections("tcp")
    (port,) = {
        s.laddr.port
        for s in sockets
        if s.status == psutil.CONN_LISTEN and not target.endswith(f":{s.laddr.port}")
    }
    return int(port)


def _await_health(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        give_up = time.monotonic() + _READY_WITHIN
        while time.monotonic() < give_up:
            answer = stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=10)
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
            time.sleep(0.1)
    raise RuntimeError(f"the gateway is not ready after {_READY_WITHIN} s")


@asynccontextmanager
async def gateway_beside(airflow: Address) -> AsyncIterator[GatewayProcess]:
    """The same while an Airflow answers in this event loop."""
    with ExitStack() as stack:
        server = await asyncio.to_thread(stack.enter_context, gateway(airflow))
        try:
            yield server
        finally:
            await asyncio.to_thread(stack.close)
