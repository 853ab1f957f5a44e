"""What the gateway adds to a call."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from benchmarks.fake.airflow import ANSWERED, fake_airflow
from benchmarks.fake.airflow_client import Caller
from benchmarks.fake.echo import echo
from benchmarks.gateway import gateway
from benchmarks.report import Cell, Report
from benchmarks.samples import p50, p99
from benchmarks.sizes import Sizes
from dag_inference import AsyncDagInferenceClient

_WARM_UP = 10

NOTE = """Calls, requests alone and bare gRPC in turn, against a fake Airflow that answers at once.
Own time: the client's latency - the wait for the next poll (timing.detection of the answer) - p50
of the same three requests (trigger, value, check) through apache-airflow-client alone - p50 of bare
gRPC, an echo that waits as long before it answers, so that it finds the machine as idle.
The fake's run ends while its trigger's answer is on its way, and that way counts as both."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Measure calls, requests and bare gRPC in turn on the same machine."""
    report.say("own time per call …")
    calls, waits, requests, bare, unexplained = [], [], [], [], []
    with fake_airflow() as airflow, gateway(airflow.address) as server, echo() as echoing:
        caller = Caller(airflow.address, 1)
        await asyncio.to_thread(caller.one_by_one, _WARM_UP)
        async with (
            AsyncDagInferenceClient(server.target) as client,
            AsyncDagInferenceClient(echoing.target) as echoed,
        ):
            for number in range(_WARM_UP + sizes.own_time):
                # In turn, so that all see the same machine.
                alone = await asyncio.to_thread(caller.one_by_one, 1)
                call, wait, rest = await _call(client, None)
                around, waited, _ = await _call(echoed, wait)
                if number >= _WARM_UP:
                    requests += alone
                    calls.append(call)
                    waits.append(wait)
                    bare.append(around - waited)
                    unexplained.append(rest)
    beyond = p50(requests) + p50(bare)
    owns = [call - wait - beyond for call, wait in zip(calls, waits, strict=True)]
    rows: list[list[Cell]] = [
        [what, len(seconds), 1000 * p50(seconds), 1000 * p99(seconds)]
        for what, seconds in (
            ("Invoke, as the client sees it", calls),
            ("of it the wait for the next poll", waits),
            ("trigger, value and check through apache-airflow-client", requests),
            ("bare gRPC", bare),
            ("own time", owns),
            ("unattributed, by the answer's timing", unexplained),
        )
    ]
    report.table("Own time per call", ("", "samples", "p50 ms", "p99 ms"), rows, NOTE)
    report.bar("own time per call, p50", 1000 * p50(owns), 3, "ms")
    report.bar("unattributed time, p99", 1000 * p99(unexplained), 50, "ms")


async def _call(
    client: AsyncDagInferenceClient, run_timeout: float | None
) -> tuple[float, float, float]:
    """Seconds of a call, of the wait in it, and what of it no stage explains."""
    start = time.monotonic()
    result = await client.call(ANSWERED, {"n": 1}, timeout=60, run_timeout=run_timeout)
    latency = time.monotonic() - start
    assert result.timing.detection is not None
    rest = result.timing.unattributed or timedelta()
    return latency, result.timing.detection.total_seconds(), rest.total_seconds()
