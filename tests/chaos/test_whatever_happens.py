"""Whatever happens, nobody is told what is not so, no call makes two runs, none is forgotten.

Calls of every kind, runs that go every way, hosts whose clocks differ, rows that are committed
late, requests that go wrong, an Airflow that is away, gateways that are killed or told to end, all
at once and by chance. `CHAOS_SEEDS` says how many such stories there are.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import pytest

from chaos.happened import EVERYTHING
from chaos.scenario import scenario
from fakes.airflow import FakeAirflow
from gateway_process import GatewayProcess
from integration.scraping import scrape

SEEDS = int(os.environ.get("CHAOS_SEEDS", "2"))
RESTARTS = int(os.environ.get("CHAOS_RESTARTS", "2"))
"""Of the gateway in each story; by turns it is killed and told to end."""

STEPS = 200 * (RESTARTS + 2)


@pytest.fixture(scope="module")
def stories() -> list[Counter[str]]:
    """What there was in each that was told to its end."""
    return []


@pytest.mark.timeout(300 + STEPS // 5)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_happens(
    seed: int, airflow: FakeAirflow, process: GatewayProcess, stories: list[Counter[str]]
) -> None:
    """Every answer was true during its call, and at rest there is one answer to each question.

    An OK has a value that the run's result task had returned, in a try that was not cleared or
    deleted before the call; that of a `Cancel` says of a run that had ended that it had. Every
    other end is a coded error that names the run once the caller was told of it, and that
    something gave reason for. Bare are only the ends of callers that went away, of calls whose
    gateway was killed or which come when it has gone, and of deadlines on a busy machine. No call
    makes a second run. A run is ended by its gateway if its last caller there wanted that, or it
    outlives its `run_timeout`; else by none; and when all is over the gateway waits for nothing.
    """
    async with scenario(seed, airflow, process) as story:
        await story.play(STEPS, RESTARTS)
        await story.settle()
        await story.ask_again()
    await _idle(process)
    stories.append(story.happened)


def test_everything_has_happened(stories: list[Counter[str]]) -> None:
    """Over all stories; otherwise something was not put to the test."""
    if len(stories) < SEEDS:
        pytest.skip("not all were told, or not to their ends")
    assert not {*EVERYTHING}.difference(*stories), sum(stories, Counter())


async def _idle(process: GatewayProcess) -> None:
    """Wait until a gateway waits for nothing."""
    async with asyncio.timeout(20):
        while True:
            scraped = await scrape(process.metrics_port)
            waits = ("dag_inference_calls_in_flight", "dag_inference_watcher_runs")
            if not any(map(scraped.shown, waits)):
                return
            await asyncio.sleep(0.2)
