"""A gateway that cannot listen says so, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from dag_inference_server.server import CannotListen
from fakes.airflow import FakeAirflow
from integration.gateway import Gateway, running, settings_for


@pytest.mark.parametrize("taken", ["listen", "metrics_listen"])
async def test_an_address_that_is_taken(airflow: FakeAirflow, gateway: Gateway, taken: str) -> None:
    """Is named, and nothing complains of what was begun and not ended."""
    ports = {"listen": gateway.serving.port, "metrics_listen": gateway.serving.metrics_port}
    address = f"127.0.0.1:{ports[taken]}"
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))

    with pytest.raises(CannotListen, match=address):
        async with running(settings_for(airflow, **{taken: address})):
            raise AssertionError("it serves")

    gc.collect()
    assert complaints == []
