"""What the gateway adds to a call."""

from __future__ import annotations

import asyncio
import time

from benchmarks.fake.airflow import ANSWERED, fake_airflow
from benchmarks.fake.airflow_client import Caller
from benchmarks.gateway import gateway
from benchmarks.report import Cell, Report
from benchmarks.samples import p50, p99
from benchmarks.sizes import Sizes
from dag_inference import AsyncDagInferenceClient

_WARM_UP = 10

NOTE = """Calls and the requests alone, in turn, against a fake Airflow that answers at once.
Own time: the client's latency - the wait for the next poll (timing.detection of the answer)
- p50 of the same three requests (trigger, value, check) through apache-airflow-client alone.
The fake's run ends while its trigger's answer is on its way, and that way counts as both."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Measure calls and requests in turn on the same fake."""
    report.say("own time per call …")
    latencies: list[float] = []
    detections: list[float] = []
    requests: list[float] = []
    with fake_airflow() as airflow, gateway(airflow.address) as server:
        caller = Caller(airflow.address, 1)
        await asyncio.to_thread(caller.one_by_one, _WARM_UP)
        async with AsyncDagInferenceClient(server.target) as client:
            for _ in range(_WARM_UP):
                await client.invoke(ANSWERED, {"n": 1}, timeout=60)
            for _ in range(sizes.own_time):
                # In turn, so that both see the same machine.
                requests += await asyncio.to_thread(caller.one_by_one, 1)
                start = time.monotonic()
                result = await client.call(ANSWERED, {"n": 1}, timeout=60)
                latencies.append(time.monotonic() - start)
                assert result.timing.detection is not None
                detections.append(result.timing.detection.total_seconds())
    pairs = zip(latencies, detections, strict=True)
    owns = [latency - detection - p50(requests) for latency, detection in pairs]
    rows: list[list[Cell]] = [
        [what, len(seconds), 1000 * p50(seconds), 1000 * p99(seconds)]
        for what, seconds in (
            ("Invoke, as the client sees it", latencies),
            ("of it the wait for the next poll", detections),
            ("trigger, value and check through apache-airflow-client", requests),
            ("own time", owns),
        )
    ]
    report.table("Own time per call", ("", "samples", "p50 ms", "p99 ms"), rows, NOTE)
    report.bar("own time per call, p50", 1000 * p50(owns), 3, "ms")
