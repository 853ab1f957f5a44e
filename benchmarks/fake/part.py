"""Everything that is measured against a fake Airflow."""

from __future__ import annotations

import asyncio

from benchmarks.fake import (
    burst,
    deadlines,
    going_away,
    large,
    memory,
    overload,
    own_time,
    requests,
    scrape,
    seeing,
    throughput,
)
from benchmarks.report import Report
from benchmarks.sizes import Sizes


def run(sizes: Sizes, report: Report) -> None:
    """Measure one thing after the other."""
    for measured in (
        *(requests, throughput, seeing, scrape),
        *(own_time, deadlines, large, memory, burst, overload, going_away),
    ):
        asyncio.run(report.attempt(measured.__name__, measured.measure(sizes, report)))
