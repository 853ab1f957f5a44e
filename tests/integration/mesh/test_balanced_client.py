"""Without any proxy, a client can share its calls among gateways, and leave one that goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dag_inference import AsyncDagInferenceClient, DagInferenceClient
from fakes.airflow import Dag, FakeAirflow, steps
from gateway_process import GatewayProcess
from integration.gateway import Gateway
from integration.mesh.going import leave
from integration.mesh.load import load, takes_a_while
from integration.scraping import scrape

CALLS = 10


async def blocking(target: str) -> None:
    """The blocking client makes some calls."""

    def call() -> None:
        with DagInferenceClient(target, balanced=True) as client:
            for _ in range(CALLS):
                client.invoke("dag", timeout=30)

    await asyncio.to_thread(call)


async def with_asyncio(target: str) -> None:
    """The asyncio client makes some calls."""
    async with AsyncDagInferenceClient(target, balanced=True) as client:
        for _ in range(CALLS):
            await client.invoke("dag", timeout=30)


@pytest.mark.parametrize("make_calls", [blocking, with_asyncio])
async def test_gateways_share_the_calls(
    airflow: FakeAirflow,
    gateways: tuple[Gateway, Gateway],
    make_calls: Callable[[str], Awaitable[None]],
) -> None:
    """Both get some, as soon as there is a connection to each."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))

    await make_calls(target_of(*(each.serving.port for each in gateways)))

    shares = [(await scrape(each))("grpc_server_started_total", **INVOKE) for each in gateways]
    assert sum(shares) == CALLS
    assert min(shares) > 0


@pytest.mark.parametrize("delay", ["1"])
@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL"])
async def test_one_that_goes_loses_no_call(
    airflow: FakeAirflow, goes: GatewayProcess, gateway: Gateway, way: str
) -> None:
    """Told to end, it says so before it refuses anything: the channel need not repeat a call.

    Killed, what it had begins anew or goes on at the other.
    """
    dag = airflow.add(Dag("dag", script=[takes_a_while]))
    target = target_of(goes.port, gateway.serving.port)
    options = NO_REPEATS if way == "SIGTERM" else []
    async with AsyncDagInferenceClient(target, balanced=True, options=options) as client:

        async def call(number: int) -> None:
            assert await client.invoke("dag", {"n": number}, timeout=30) == {"n": number}

        async with load(call) as told:
            await told.more(40)
            here = (await scrape(gateway)).shown("grpc_server_started_total", **INVOKE)
            assert here < told.begun
            await leave(goes, way)
            await told.more(40)

    assert told.lost == []
    assert len(dag.made) == told.answered


INVOKE = {"grpc_method": "Invoke"}
NO_REPEATS: list[tuple[str, Any]] = [("grpc.enable_retries", 0)]


def target_of(*ports: int) -> str:
    """A list of gateways, as gRPC takes it."""
    return "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
