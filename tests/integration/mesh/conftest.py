"""Two gateways before one Airflow, one that goes away, and an Envoy before two."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from fakes.airflow import FakeAirflow
from gateway_process import GatewayProcess, environment_for, gateway_process
from integration.gateway import Gateway, running, settings_for
from integration.mesh.envoy import Envoy, envoy


@pytest.fixture
async def gateways(
    airflow: FakeAirflow, settings: dict[str, Any]
) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Both serve."""
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(running(settings_for(airflow, **settings)))
            for _ in range(2)
        ]
        await first.ready()
        await second.ready()
        yield first, second


@pytest.fixture
def delay() -> str:
    """`SHUTDOWN_DELAY` of the one that goes. Envoy needs up to three seconds to notice."""
    return "4"


@pytest.fixture
async def goes(airflow: FakeAirflow, delay: str) -> AsyncIterator[GatewayProcess]:
    """A gateway in a process of its own, which can be killed."""
    environment = environment_for(airflow, SHUTDOWN_DELAY=delay, SHUTDOWN_GRACE="2")
    async with gateway_process(environment) as process:
        yield process


@pytest.fixture
def changes() -> dict[str, str]:
    """What is another in the example's configuration. A test that wants any parametrises this."""
    return {}


@pytest.fixture
async def proxy(
    gateways: tuple[Gateway, Gateway], changes: dict[str, str], tmp_path: Path
) -> AsyncIterator[Envoy]:
    """Envoy, with the configuration of the examples."""
    async with envoy([each.serving.port for each in gateways], tmp_path, changes) as proxy:
        yield proxy


@pytest.fixture
async def channel(proxy: Envoy) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to it."""
    async with grpc.aio.insecure_channel(proxy.target) as channel:
        yield channel
