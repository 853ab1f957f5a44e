"""A while in which nothing changes: what the API server spends, and what others feel of it."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass

from benchmarks.processes import cpu_seconds
from benchmarks.real.airflow import RealAirflow
from benchmarks.worker import working


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen."""

    cores: float
    """CPU of the API server and its children, in cores."""
    others: list[float]
    """Seconds that another caller's cheap request took, each."""
    refused: int
    """How many of them got no good answer."""
    looks: float
    """How often in a second somebody listed what happened in all DAGs."""


async def watch(airflow: RealAirflow, seconds: float) -> Window:
    """Watch for so long."""
    address = airflow.address
    async with working("benchmarks.prober", url=address.url, token=airflow.token) as prober:
        logged = airflow.api_log.stat().st_size
        start, spent = time.monotonic(), cpu_seconds(airflow.api_server)
        await asyncio.sleep(seconds)
        elapsed = time.monotonic() - start
        spent = cpu_seconds(airflow.api_server) - spent
        looks = _looks(airflow, logged) / elapsed
        samples = await prober.finish()
    others = [took for took, _ in samples]
    refused = sum(not answered for _, answered in samples)
    return Window(spent / elapsed, others, refused, looks)


_LISTING = re.compile(rb"path=/api/v2/dags/~/dagRuns(/~/taskInstances)? query=(.*)")
_RUN_ID = re.compile(rb"[0-9a-f]{32}")


def _looks(airflow: RealAirflow, since: int) -> int:
    """How often the gateway looked at all runs at once, by the API server's own log.

    A look is a listing of runs and one of task instances: the kind that was asked for most counts.
    A listing that names single runs looks at those alone.
    """
    with airflow.api_log.open("rb") as log:
        log.seek(since)
        listings = _LISTING.findall(log.read())
    kinds = Counter(kind for kind, query in listings if not _RUN_ID.search(query))
    return max(kinds.values(), default=0)
