"""One of two gateways goes away, under load of our client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from dag_inference import AsyncDagInferenceClient
from fakes.airflow import Dag, FakeAirflow
from gateway_process import GatewayProcess
from integration.mesh.load import load, takes_a_while
from integration.waiting import eventually

PARKED = 20
"""Calls that wait until it is gone."""


async def _as_it_is() -> None:
    """Nothing more to see to."""


async def leave(goes: GatewayProcess, way: str) -> None:
    """Let a gateway go, in order (`SIGTERM`) or not."""
    if way == "SIGTERM":
        goes.signal()
        assert await goes.ended() == 0
    else:
        await goes.kill()


async def none_is_lost(
    airflow: FakeAirflow,
    goes: GatewayProcess,
    target: str,
    way: str,
    *,
    under_load: Callable[[], Awaitable[None]] = _as_it_is,
) -> None:
    """Call through the proxy while the gateway goes: each call has its result, of one run.

    Args:
        airflow: Of both gateways.
        goes: The one that goes.
        target: The proxy.
        way: SIGTERM or SIGKILL.
        under_load: Sees to it that the load is what it should be, before it goes.
    """
    dag = airflow.add(Dag("dag", script=[takes_a_while]))
    parked = airflow.add(Dag("parked"))
    async with AsyncDagInferenceClient(target) as client:

        async def call(number: int) -> None:
            assert await client.invoke("dag", {"n": number}, timeout=30) == {"n": number}

        waiting = [asyncio.create_task(client.invoke("parked", timeout=60)) for _ in range(PARKED)]
        await eventually(lambda: len(parked.made) == PARKED)
        async with load(call) as told:
            await told.more(40)
            await under_load()
            await leave(goes, way)
            await told.more(40)
        for run in parked.made:
            run.finish("predict", "at last")
        assert await asyncio.gather(*waiting) == [{"return_value": "at last"}] * PARKED

    assert told.lost == []
    assert len(dag.made) == told.answered
    assert len(parked.made) == PARKED
