"""Everything that is measured on a real Airflow, in one start of it."""

from __future__ import annotations

import asyncio

from benchmarks.gateway import gateway
from benchmarks.real import detection, history, latency, waiting
from benchmarks.real.airflow import RealAirflow, real_airflow
from benchmarks.real.waiting import Waiting
from benchmarks.report import Cell, Report
from benchmarks.sizes import Sizes
from dag_inference import AsyncDagInferenceClient


def run(sizes: Sizes, report: Report) -> None:
    """Start an Airflow and measure."""
    with real_airflow() as airflow:
        asyncio.run(_measure(airflow, sizes, report))


async def _measure(airflow: RealAirflow, sizes: Sizes, report: Report) -> None:
    async with airflow.client() as client:
        with gateway(airflow.address) as server:
            async with AsyncDagInferenceClient(server.target) as caller:
                await report.attempt("latency", latency.measure(client, caller, sizes, report))
            detected = detection.measure(client, server.target, sizes, report)
            left = await report.attempt("detection", detected)
        await report.attempt("waiting", _wait(Waiting(airflow, client, sizes, report, left or [])))


async def _wait(waits: Waiting) -> None:
    """Wait in each way for more and more runs, then once more with a past."""
    sizes, report = waits.sizes, waits.report
    rows: list[list[Cell]] = []
    pair: tuple[waiting.Watched, waiting.Watched] | None = None
    for in_flight, interval in zip(sizes.in_flight, sizes.intervals, strict=True):
        await waits.provide(in_flight)
        idle = await waits.idle()
        by_wait = await waits.by_wait(in_flight, interval, idle)
        by_gateway = await waits.by_gateway("gateway", in_flight, idle)
        rows += [waiting.row(by_wait, None), waiting.row(by_gateway, by_wait)]
        pair = by_wait, by_gateway
    assert pair is not None
    by_wait, by_gateway = pair
    report.table("Waiting for runs that do not end", waiting.COLUMNS, rows, waiting.NOTE)
    waiting.bars(report, by_gateway, by_wait)
    aged = await _with_past(waits, by_gateway.in_flight)
    rows = [waiting.row(watched, by_wait) for watched in (by_gateway, aged)]
    title = f"The same with {sizes.history:,} past task instances, and one run 30 days old"
    report.table(title, waiting.COLUMNS, rows, waiting.NOTE)
    waiting.bars(report, aged, None)


async def _with_past(waits: Waiting, in_flight: int) -> waiting.Watched:
    sizes, database = waits.sizes, waits.airflow.socket_folder
    await waits.provide(in_flight)
    waits.report.say(f"writing {sizes.history:,} task instances of the past …")
    await asyncio.to_thread(history.insert, database, sizes.history)
    (old,) = waits.take(1)
    await asyncio.to_thread(history.age, database, old)
    idle = await waits.idle()
    how = "gateway, with a past"
    return await waits.by_gateway(how, in_flight, idle, old)
