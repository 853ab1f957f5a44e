"""How old news is: from when Airflow has confirmed a run's end until the caller knows of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress

import httpx
from grpc import RpcError

from benchmarks.calls import Call, answer
from benchmarks.real.runs import fail, wait


async def by_gateway(
    airflow: httpx.AsyncClient, dag_id: str, calls: Mapping[str, Call]
) -> list[float]:
    """Fail runs that calls are parked for, one after another; seconds until each call knew."""
    told = {run_id: answer(call) for run_id, call in calls.items()}
    return await _ages(airflow, dag_id, told)


async def by_wait(
    airflow: httpx.AsyncClient, dag_id: str, run_ids: list[str], interval: float
) -> list[float]:
    """The same of callers that hold a `/wait` stream."""
    streams = {
        run_id: asyncio.create_task(_hold(airflow, dag_id, run_id, interval)) for run_id in run_ids
    }
    await asyncio.sleep(interval)
    return await _ages(airflow, dag_id, streams)


async def _hold(airflow: httpx.AsyncClient, dag_id: str, run_id: str, interval: float) -> None:
    """Wait for a run by `/wait`, anew if the stream breaks."""
    while True:
        with suppress(httpx.TransportError):
            return await wait(airflow, dag_id, run_id, interval)


async def _ages(
    airflow: httpx.AsyncClient, dag_id: str, told: Mapping[str, Awaitable[object]]
) -> list[float]:
    async def age(number: int, run_id: str, known: asyncio.Future[float]) -> float:
        # So that it is not always the same moment between two looks.
        await asyncio.sleep(number + random.uniform(0, 1))  # noqa: S311
        await fail(airflow, dag_id, run_id)
        confirmed = time.monotonic()
        return await known - confirmed

    known = {run_id: asyncio.ensure_future(_known(news)) for run_id, news in told.items()}
    return await asyncio.gather(*(age(number, *of) for number, of in enumerate(known.items())))


async def _known(told: Awaitable[object]) -> float:
    # The gateway says so as an error.
    with suppress(RpcError):
        await told
    return time.monotonic()
