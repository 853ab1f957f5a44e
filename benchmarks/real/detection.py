"""From the end of the result task, by its worker's stamp, until the caller has the answer.

Same host, same clock. Airflow's own share is until its API shows that the task has ended.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import httpx

from benchmarks.real.parked_calls import parked_calls
from benchmarks.real.runs import ended_at, trigger, trigger_many, value
from benchmarks.report import Cell, Report
from benchmarks.samples import p50, p99
from benchmarks.sizes import Sizes
from dag_inference import AsyncDagInferenceClient

COLUMNS = ("", "samples", "p50 s", "p99 s", "max s")

_DAG, _TASK = "one_task", "answer"


async def measure(
    airflow: httpx.AsyncClient, target: str, sizes: Sizes, report: Report
) -> list[str]:
    """Measure both; the runs that were made and do not end."""
    report.say(f"detection: making {sizes.parked} runs that do not end …")
    parked = await trigger_many(airflow, "parked", sizes.parked)
    async with (
        parked_calls(target, "parked", parked),
        AsyncDagInferenceClient(target) as client,
    ):
        report.say("detection: short runs one after another …")
        answered = [await _answered(airflow, client) for _ in range(sizes.detections)]
        shown = [await _shown(airflow) for _ in range(sizes.shown)]
    until_shown, until_read = zip(*shown, strict=True)
    rows: list[list[Cell]] = [
        [what, len(lags), p50(lags), p99(lags), max(lags)]
        for what, lags in (
            ("Invoke: until the caller has the answer", answered),
            ("Airflow's share: until its API shows the end", until_shown),
            ("and gives value and check, to who knows when to ask", until_read),
        )
    ]
    note = f"""From the result task instance's end_date, with {len(parked)} other runs in flight. \
The answer includes reading the value and checking that it still holds.
Airflow's share is measured on runs of its own, by asking for one task instance without a pause:
no listing, which takes Airflow longer, and no wait between two looks."""
    report.table("Lag of detection", COLUMNS, rows, note)
    of = f"lag of detection, {len(parked)} in flight"
    report.bar(f"{of}: p50", p50(answered), 0.1, "s")
    report.bar(f"{of}: p99", p99(answered), 0.5, "s")
    return parked


async def _answered(airflow: httpx.AsyncClient, client: AsyncDagInferenceClient) -> float:
    """Seconds from the end of a run's result task until `Invoke` has answered."""
    result = await client.call(_DAG, timeout=120)
    now = datetime.now(UTC)
    end = await ended_at(airflow, _DAG, result.run.run_id, _TASK)
    assert end is not None
    return (now - end).total_seconds()


async def _shown(airflow: httpx.AsyncClient) -> tuple[float, float]:
    """Seconds from the end of a run's result task until Airflow's API shows it, and gives it."""
    run_id = await trigger(airflow, _DAG)
    async with asyncio.timeout(120):
        while (end := await ended_at(airflow, _DAG, run_id, _TASK)) is None:
            pass
    shown = datetime.now(UTC)
    await asyncio.gather(
        value(airflow, _DAG, run_id, _TASK), ended_at(airflow, _DAG, run_id, _TASK)
    )
    return (shown - end).total_seconds(), (datetime.now(UTC) - end).total_seconds()
