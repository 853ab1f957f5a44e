"""Whatever happens, nobody is told what is not so, no call makes two runs, none is forgotten.

Calls of every kind, runs that go every way, hosts whose clocks differ, rows that are committed
late, requests that go wrong, an Airflow that is away and gateways that are killed, all at once and
by chance. `CHAOS_SEEDS` says how many such stories there are.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from chaos.scenario import scenario
from fakes.airflow import FakeAirflow
from gateway_process import GatewayProcess
from integration.scraping import scrape

SEEDS = int(os.environ.get("CHAOS_SEEDS", "2"))
STEPS = 600


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_happens(seed: int, airflow: FakeAirflow, process: GatewayProcess) -> None:
    """Every answer was true during its call, and at rest there is one answer to each question.

    An OK has a value that the run's result task had returned, in a try that was not cleared or
    deleted before the call. Every other end is a coded error that names the run once the caller
    was told of it, and that something gave reason for. Bare are only the ends of callers that went
    away, of calls whose gateway was killed, and of deadlines on a busy machine. No call makes a
    second run, no run is ended that nobody wanted ended, and when all is over the gateway waits
    for nothing.
    """
    async with scenario(seed, airflow, process) as story:
        await story.play(STEPS, kills=1)
        await story.settle()
        told = {call.failure.reason if call.failure else "OK" for call in story.calls}
        # Otherwise nothing was put to the test. Bare ends have no reason.
        assert told >= {"OK", "TASK_FAILED", "DEADLINE_EXCEEDED", ""}
        await story.ask_again()
    await _idle(process)


async def _idle(process: GatewayProcess) -> None:
    """Wait until a gateway waits for nothing."""
    async with asyncio.timeout(20):
        while True:
            scraped = await scrape(process.metrics_port)
            waits = ("dag_inference_calls_in_flight", "dag_inference_watcher_runs")
            if not any(map(scraped.shown, waits)):
                return
            await asyncio.sleep(0.2)
