"""How long a request that got no answer waits before it is made again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest

from dag_inference.errors import AirflowUnavailable
from dag_inference_server.airflow.retries import a_few_times, until_answered

Repeats = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]

LONGEST: dict[Repeats, list[float]] = {
    a_few_times: [0.1, 0.2, 0.4],
    until_answered: [0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5],
}
"""Seconds, with the worst of luck."""


@pytest.mark.parametrize("repeats", LONGEST, ids=["a few times", "until answered"])
@pytest.mark.parametrize("luck", [0.0, 0.25, 1.0])
async def test_waits(repeats: Repeats, luck: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to twice as long each time, so that an Airflow in trouble is left alone, and no more.

    How much of it is left to chance, so that those who failed together do not come back together.
    """
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(random, "uniform", lambda low, high: low + luck * (high - low))
    tries = count()

    async def request() -> str:
        if next(tries) < len(LONGEST[repeats]):
            raise AirflowUnavailable("Airflow does not answer")
        return "answer"

    assert await repeats(request) == "answer"
    assert waits == pytest.approx([luck * longest for longest in LONGEST[repeats]])


async def test_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three repeats, and then whoever asked is told."""
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    tries = count(1)

    async def request() -> None:
        raise AirflowUnavailable(f"no answer to try {next(tries)}")

    with pytest.raises(AirflowUnavailable, match="try 4"):
        await a_few_times(request)
