"""From trigger to answer: trigger and `/wait`, or `Invoke`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import httpx

from benchmarks.real.runs import trigger, wait
from benchmarks.report import Cell, Report
from benchmarks.samples import p50
from benchmarks.sizes import Sizes
from dag_inference import AsyncDagInferenceClient, TaskFailed

INTERVAL = 0.2
"""Seconds between two looks of `/wait`: more often than its users would dare to ask."""

_APART = 3
"""Seconds: by then a run's own tasks are done, and only its clean-up sleeps."""

COLUMNS = ("DAG", "samples", "trigger + /wait p50 s", "Invoke p50 s", "ratio")

NOTE = f"""From the call until its answer, on the same Airflow.
/wait with interval={INTERVAL:g} s, the best case, and without the reason of a failure.
In turn; where a clean-up is waited for, a call begins {_APART} s after the one before."""

_TIMEOUT = 120


async def measure(
    airflow: httpx.AsyncClient, client: AsyncDagInferenceClient, sizes: Sizes, report: Report
) -> None:
    """Measure each DAG in both ways."""
    report.say("latency: two runs that do not count …")
    await _by_wait(airflow, "one_task")
    await _by_invoke(client, "one_task")
    rows: list[list[Cell]] = []
    ratios: dict[str, float] = {}
    for dag_id, what, samples, slow in (
        ("one_task", "one task", sizes.short_calls, False),
        ("slow_teardown", "a result, then a teardown of 20 s", sizes.long_calls, True),
        ("early_failure", "a failure, then a clean-up of 15 s", sizes.long_calls, True),
    ):
        report.say(f"latency: {what} …")
        by_wait = partial(_by_wait, airflow, dag_id)
        by_invoke = partial(_by_invoke, client, dag_id)
        sample = _with_pauses if slow else _in_turn
        waited, invoked = await sample(by_wait, by_invoke, samples)
        ratios[dag_id] = p50(waited) / p50(invoked)
        rows.append([what, samples, p50(waited), p50(invoked), ratios[dag_id]])
    report.table("Latency", COLUMNS, rows, NOTE)
    report.bar(
        "DAG with a teardown of 20 s: answered sooner than by /wait",
        ratios["slow_teardown"],
        12,
        "times",
        at_least=True,
    )


async def _by_wait(airflow: httpx.AsyncClient, dag_id: str) -> None:
    await wait(airflow, dag_id, await trigger(airflow, dag_id), INTERVAL)


async def _by_invoke(client: AsyncDagInferenceClient, dag_id: str) -> None:
    try:
        await client.invoke(dag_id, timeout=_TIMEOUT)
    except TaskFailed:
        if dag_id != "early_failure":
            raise


_Call = Callable[[], Awaitable[None]]
_Seconds = tuple[list[float], list[float]]


async def _in_turn(one: _Call, other: _Call, samples: int) -> _Seconds:
    """Seconds of both calls, one after another, so that both see the same machine."""
    pairs = [(await _seconds(one), await _seconds(other)) for _ in range(samples)]
    return [a for a, _ in pairs], [b for _, b in pairs]


async def _with_pauses(one: _Call, other: _Call, samples: int) -> _Seconds:
    """The same of calls that would take minutes in turn: each begins a pause after another."""

    async def begin(number: int) -> float:
        await asyncio.sleep(number * _APART)
        return await _seconds(one if number % 2 == 0 else other)

    seconds = await asyncio.gather(*(begin(number) for number in range(2 * samples)))
    return seconds[::2], seconds[1::2]


async def _seconds(call: _Call) -> float:
    start = time.monotonic()
    await call()
    return time.monotonic() - start
