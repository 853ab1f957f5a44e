"""What a gateway holds, as far as it can be seen from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar
from urllib.request import urlopen

import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.gateway import metrics_port
from benchmarks.processes import memory
from benchmarks.report import Cell

_RESTS_WITHIN = 60
"""Seconds."""

_LOOKS_EVERY = 1
"""Second. Runs of callers that have left are ended behind them, by tasks that become fewer."""

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Vitals:
    """A look at it."""

    memory: float
    """Resident, in MiB."""
    apart: float
    """The same of its processes for large values."""
    files: int
    """Open descriptors."""
    tasks: int
    """Of asyncio."""
    calls: int
    """In flight."""
    rpcs: int
    """Of the service, started and not handled."""
    runs: int
    """That it follows."""
    bugs: int
    """RPCs so far whose status says that the gateway has one."""
    cpu: float
    """Seconds so far."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "memory MiB",
        "of processes apart MiB",
        "descriptors",
        "tasks",
        "calls in flight",
        "RPCs open",
        "runs followed",
        "bugs",
        "CPU s",
    )

    def cells(self) -> tuple[Cell, ...]:
        """A row of a table."""
        shown = (self.memory, self.apart, self.files, self.tasks)
        return (*shown, self.calls, self.rpcs, self.runs, self.bugs, self.cpu)

    @property
    def rests(self) -> bool:
        """Whether nothing is under way."""
        return not (self.calls or self.rpcs or self.runs)


async def at_rest(pid: int, target: str) -> Vitals:
    """What it holds once nothing is under way, or after a while all the same."""
    port = metrics_port(pid, target)
    give_up = time.monotonic() + _RESTS_WITHIN
    before = await asyncio.to_thread(_look, pid, port)
    while True:
        await asyncio.sleep(_LOOKS_EVERY)
        seen = await asyncio.to_thread(_look, pid, port)
        if (seen.rests and seen.tasks >= before.tasks) or time.monotonic() > give_up:
            return seen
        before = seen


def _look(pid: int, port: int) -> Vitals:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        families = text_string_to_metric_families(page.read().decode())
        samples = [sample for family in families for sample in family.samples]

    def total(name: str, **among: Collection[str]) -> float:
        return sum(
            s.value
            for s in samples
            if s.name == name
            and all(s.labels.get(label) in values for label, values in among.items())
        )

    ours = ("dag_inference.v1.DagInference", "inference.GRPCInferenceService")
    started, handled = "grpc_server_started_total", "grpc_server_handled_total"
    return Vitals(
        memory=total("process_resident_memory_bytes") / _MIB,
        apart=sum(memory(process.pid) for process in psutil.Process(pid).children()) / _MIB,
        files=int(total("process_open_fds")),
        tasks=int(total("dag_inference_tasks")),
        calls=int(total("dag_inference_calls_in_flight")),
        rpcs=int(total(started, grpc_service=ours) - total(handled, grpc_service=ours)),
        runs=int(total("dag_inference_watcher_runs")),
        bugs=int(total(handled, grpc_service=ours, grpc_code=("Unknown", "Internal"))),
        cpu=total("process_cpu_seconds_total"),
    )
