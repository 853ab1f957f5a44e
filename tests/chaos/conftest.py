"""A fake Airflow, and a gateway in a process of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dag_inference_server.settings import ENV_PREFIX
from fakes.airflow import FakeAirflow
from gateway_process import GatewayProcess, gateway_process

SETTINGS = {
    "SHUTDOWN_GRACE": "1",
    # Rows that are stamped early are found within seconds.
    "POLL_INTERVAL_OLD": "0.3",
    "LOG_LEVEL": "warning",
}


@pytest.fixture
async def airflow() -> AsyncIterator[FakeAirflow]:
    """An Airflow without DAGs."""
    fake = FakeAirflow()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def process(airflow: FakeAirflow, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """A gateway."""
    account = {
        "AIRFLOW_URL": airflow.url,
        "AIRFLOW_USERNAME": airflow.accounts.username,
        "AIRFLOW_PASSWORD": airflow.accounts.password,
    }
    named = {f"{ENV_PREFIX}{name}": value for name, value in (account | SETTINGS).items()}
    log = tmp_path / "gateway.log"
    async with gateway_process({"PATH": os.environ["PATH"], **named}, log) as process:
        yield process
