"""A while in which nothing changes: what the API server spends, and what others feel of it."""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from benchmarks.processes import cpu_seconds
from benchmarks.real.airflow import RealAirflow
from benchmarks.worker import working


class Look(NamedTuple):
    """One listing."""

    began: float
    """Unix time, by the API server's clock."""
    ended: float


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen."""

    cores: float
    """CPU of the API server and its children, in cores."""
    others: list[float]
    """Seconds that another caller's cheap request took, each."""
    refused: int
    """How many of them got no good answer."""
    looks: list[Look]
    """When the gateway listed what had happened in all DAGs."""

    @property
    def tick(self) -> float:
        """Seconds from one look to the next."""
        return (self.looks[-1].began - self.looks[0].began) / (len(self.looks) - 1)

    @property
    def lag(self) -> float:
        """Seconds that what the gateway knew was old at most: until a look's answer was there."""
        return max(now.ended - before.began for before, now in pairwise(self.looks))


async def watch(airflow: RealAirflow, seconds: float) -> Window:
    """Watch for so long."""
    address = airflow.address
    async with working("benchmarks.prober", url=address.url, token=airflow.token) as prober:
        logged = airflow.api_log.stat().st_size
        start, spent = time.monotonic(), cpu_seconds(airflow.api_server)
        await asyncio.sleep(seconds)
        elapsed = time.monotonic() - start
        spent = cpu_seconds(airflow.api_server) - spent
        looks = _looks(airflow, logged)
        samples = await prober.finish()
    others = [took for took, _ in samples]
    refused = sum(not answered for _, answered in samples)
    return Window(spent / elapsed, others, refused, looks)


_LISTING = re.compile(
    rb"(?m)^(\S+)Z \[.*duration_us=(\d+).*"
    rb" path=/api/v2/dags/~/dagRuns(/~/taskInstances)? query=(.*)"
)
_RUN_ID = re.compile(rb"[0-9a-f]{32}")


def _looks(airflow: RealAirflow, since: int) -> list[Look]:
    """The gateway's looks at all runs at once, by the API server's own log.

    A look is a listing of runs and one of task instances: the kind that was asked for most counts.
    A listing that names single runs looks at those alone.
    """
    with airflow.api_log.open("rb") as log:
        log.seek(since)
        listings = _LISTING.findall(log.read())
    looks = defaultdict[bytes, list[Look]](list)
    for logged, microseconds, kind, query in listings:
        if not _RUN_ID.search(query):
            ended = datetime.fromisoformat(f"{logged.decode()}+00:00").timestamp()
            looks[kind].append(Look(ended - int(microseconds) / 1e6, ended))
    of_kinds = sorted(looks.values(), key=len)
    return sorted(of_kinds[-1]) if of_kinds else []
