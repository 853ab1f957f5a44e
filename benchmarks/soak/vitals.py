"""What a gateway holds, as far as it can be seen from outside."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import ClassVar
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.gateway import metrics_port
from benchmarks.report import Cell

_RESTS_WITHIN = 60
"""Seconds. Runs of callers that have left are ended behind them."""

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Vitals:
    """A look at it."""

    memory: float
    """Resident, in MiB."""
    files: int
    """Open descriptors."""
    calls: int
    """In flight."""
    rpcs: int
    """Of the service, started and not handled."""
    runs: int
    """That it follows."""
    cpu: float
    """Seconds so far."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "memory MiB",
        "descriptors",
        "calls in flight",
        "RPCs open",
        "runs followed",
        "CPU s",
    )

    def cells(self) -> tuple[Cell, ...]:
        """A row of a table."""
        return (self.memory, self.files, self.calls, self.rpcs, self.runs, self.cpu)

    @property
    def rests(self) -> bool:
        """Whether nothing is under way."""
        return not (self.calls or self.rpcs or self.runs)


async def at_rest(pid: int, target: str) -> Vitals:
    """What it holds once nothing is under way, or after a while all the same."""
    port = metrics_port(pid, target)
    give_up = time.monotonic() + _RESTS_WITHIN
    while True:
        seen = await asyncio.to_thread(_look, port)
        if seen.rests or time.monotonic() > give_up:
            return seen
        await asyncio.sleep(0.2)


def _look(port: int) -> Vitals:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        families = text_string_to_metric_families(page.read().decode())
        samples = [sample for family in families for sample in family.samples]

    def total(name: str, service: str | None = None) -> float:
        return sum(
            s.value
            for s in samples
            if s.name == name and service in (None, s.labels.get("grpc_service"))
        )

    ours = "dag_inference.v1.DagInference"
    started, handled = "grpc_server_started_total", "grpc_server_handled_total"
    return Vitals(
        memory=total("process_resident_memory_bytes") / _MIB,
        files=int(total("process_open_fds")),
        calls=int(total("dag_inference_calls_in_flight")),
        rpcs=int(total(started, ours) - total(handled, ours)),
        runs=int(total("dag_inference_watcher_runs")),
        cpu=total("process_cpu_seconds_total"),
    )
