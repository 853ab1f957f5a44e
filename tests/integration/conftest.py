"""A fake Airflow, and a real gateway in front of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from dag_inference_server.logs import configure
from dag_inference_server.settings import ENV_PREFIX
from fakes.airflow import FakeAirflow
from integration.gateway import Gateway, running, settings_for


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop that the gateway runs in."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True, scope="session")
def _plain_logs() -> None:
    configure("warning")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def version() -> str:
    """Airflow's version. A test that wants another parametrises this."""
    return "3.3.2"


@pytest.fixture
async def airflow(version: str) -> AsyncIterator[FakeAirflow]:
    """An Airflow without DAGs."""
    fake = FakeAirflow(version=version)
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings of the gateway. A test that wants others parametrises this."""
    return {}


@pytest.fixture
async def gateway(airflow: FakeAirflow, settings: dict[str, Any]) -> AsyncIterator[Gateway]:
    """A gateway, not necessarily ready yet."""
    async with running(settings_for(airflow, **settings)) as gateway:
        yield gateway
