"""A gateway that cannot listen says so, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import re
from typing import Any

import pytest

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.server import CannotListen
from fakes.airflow import Dag, FakeAirflow, steps
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


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::]"])
async def test_an_address_that_stands_for_one_that_is_taken(
    airflow: FakeAirflow, gateway: Gateway, host: str
) -> None:
    """Is taken, too: calls are shared with no other gateway."""
    address = f"{host}:{gateway.serving.port}"

    with pytest.raises(CannotListen, match=re.escape(address)):
        async with running(settings_for(airflow, listen=address)):
            raise AssertionError("it serves")


async def test_a_name_that_stands_for_addresses(airflow: FakeAirflow) -> None:
    """Is listened on, at one port."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with running(settings_for(airflow, listen="localhost:0")) as gateway:
        await gateway.ready()
        await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=30)
