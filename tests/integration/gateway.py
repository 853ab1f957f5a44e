"""The real gateway in the event loop of the test, and a real channel to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dag_inference import AsyncDagInferenceClient
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from dag_inference_server.gateway import Serving, serving
from dag_inference_server.settings import Settings
from fakes.airflow import FakeAirflow

if TYPE_CHECKING:
    from dag_inference.v1.dag_inference_pb2_grpc import DagInferenceAsyncStub


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that serves, and ways to call it."""

    serving: Serving
    channel: grpc.aio.Channel
    end: Callable[[], None]
    """Lets it go away, as a signal does."""

    @property
    def stub(self) -> DagInferenceAsyncStub:
        """The generated stub."""
        return rpc.DagInferenceStub(self.channel)

    @property
    def client(self) -> AsyncDagInferenceClient:
        """The client library."""
        return AsyncDagInferenceClient(channel=self.channel)

    async def ready(self) -> None:
        """Wait until Airflow has answered."""
        async with asyncio.timeout(30):
            await self.serving.ready.wait()

    async def health(self, service: str = "") -> str:
        """What the standard health service says of it, or of one of the names that it knows."""
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return name


def settings_for(airflow: FakeAirflow, **others: Any) -> Settings:
    """Settings that lead to the fake: polls are fast, and calls get no grace at the end."""
    defaults: dict[str, Any] = {
        "airflow_url": airflow.url,
        "airflow_username": airflow.accounts.username,
        "airflow_password": airflow.accounts.password,
        "listen": "127.0.0.1:0",
        "metrics_listen": "127.0.0.1:0",
        "poll_interval_min": 0.02,
        "poll_interval_max": 0.1,
        # What the poll misses is not found by rounds, unless a test is about them.
        "poll_interval_old": 30,
        "shutdown_grace": 0,
    }
    return Settings(**defaults | others)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Gateway]:
    """Run a gateway inside the block.

    In a task of its own, because pytest sets a fixture up and tears it down in two
    different ones. A gateway that breaks down makes the block raise at its end.
    """
    serves: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
    enough = asyncio.Event()

    async def serve() -> None:
        async with serving(settings) as gateway:
            serves.set_result(gateway)
            await enough.wait()

    server = asyncio.create_task(serve())
    await asyncio.wait((server, serves), return_when=asyncio.FIRST_COMPLETED)
    if server.done():
        server.result()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{serves.result().port}") as channel:
            yield Gateway(serves.result(), channel, enough.set)
    finally:
        enough.set()
        await server
