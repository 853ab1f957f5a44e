"""Requests that are made again when Airflow gives no answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_never,
    wait_random_exponential,
)

from dag_inference.errors import AirflowUnavailable

T = TypeVar("T")


async def a_few_times(request: Callable[[], Awaitable[T]]) -> T:
    """Make a request that is safe to repeat.

    Three quick repeats bridge a restart of one API server worker. What must bridge more
    repeats by itself: the watcher, and calls whose run exists already.

    Raises:
        AirflowUnavailable: None of the tries was answered.
    """
    return await _again(request, times=4, shortest=0.1, longest=1)


async def until_answered(request: Callable[[], Awaitable[T]]) -> T:
    """Make a request until Airflow answers: the run exists, and only the deadline ends it."""
    return await _again(request, times=None, shortest=0.2, longest=5)


async def _again(
    request: Callable[[], Awaitable[T]], *, times: int | None, shortest: float, longest: float
) -> T:
    # Tenacity costs as much as all else on the way of a request: not where all is well.
    try:
        return await request()
    except AirflowUnavailable:
        await asyncio.sleep(random.uniform(0, shortest))  # noqa: S311 - not a secret
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(AirflowUnavailable),
        stop=stop_after_attempt(times - 1) if times else stop_never,
        wait=wait_random_exponential(multiplier=2 * shortest, max=longest),
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            return await request()
    raise AssertionError("the last attempt gives or raises")
