"""Waiting on conditions: what a test does instead of sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fakes.airflow import Dag, Run

T = TypeVar("T")


PATIENCE = 30.0
"""Seconds that only a test which fails waits to the end: on a busy machine, all takes its time."""


async def eventually(condition: Callable[[], T], timeout: float = PATIENCE) -> T:
    """Wait until something holds, and give what it gives.

    Raises:
        TimeoutError: It does not hold after `timeout` seconds.
    """
    async with asyncio.timeout(timeout):
        while not (value := condition()):  # noqa: ASYNC110 - conditions are of any kind
            await asyncio.sleep(0.002)
        return value


async def first_run(dag: Dag) -> Run:
    """Wait until a DAG has been triggered."""
    return (await eventually(lambda: dag.made))[0]


async def never(condition: Callable[[], object], within: float) -> None:
    """Make sure that something does not come to hold within so many seconds."""
    try:
        found = await eventually(condition, within)
    except TimeoutError:
        return
    raise AssertionError(f"it came to hold: {found!r}")
