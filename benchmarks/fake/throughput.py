"""Calls per second of one gateway, beside the same requests without it and gRPC without them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.struct_pb2 import Struct

from benchmarks.calls import connections
from benchmarks.fake.airflow import ANSWERED, fake_airflow
from benchmarks.fake.airflow_client import Caller
from benchmarks.fake.echo import echo
from benchmarks.gateway import gateway
from benchmarks.processes import cpu_seconds
from benchmarks.report import Cell, Report
from benchmarks.sizes import Sizes
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from dag_inference_server.settings import Settings

CONNECTIONS: int = Settings.model_fields["airflow_connections"].default
"""Of `apache-airflow-client` to Airflow: as many as the gateway has by default."""

_WARM_UP = 2
"""Seconds."""

CONF = Struct()
"""Of every call whose rate is measured."""
CONF.update({"n": 1, "text": "sepal", "numbers": [6.1, 2.8, 4.7, 1.2]})

COLUMNS = (
    "",
    "calls /s",
    "relative",
    "CPU ms per call",
    "CPU relative",
    "server, cores",
    "load, cores",
    "fake Airflow, cores",
)


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls per second, and who spent how many cores meanwhile."""

    calls: float
    cores: Mapping[str, float]

    @property
    def cpu(self) -> float:
        """CPU for each call, in milliseconds, of what is measured: a server or else a client."""
        return 1000 * self.cores["server" if "server" in self.cores else "load"] / self.calls


async def measure(sizes: Sizes, report: Report) -> None:
    """Measure all of them."""
    report.say("calls per second …")
    with fake_airflow() as airflow, gateway(airflow.address) as server:
        pids = {"server": server.pid, "load": os.getpid(), "fake": airflow.pid}
        ours = await calls_per_second(server.target, sizes, pids)
    alone: dict[bool, Rate] = {}
    for models in (False, True):
        with fake_airflow() as airflow:
            spent = _spent({"load": os.getpid(), "fake": airflow.pid})
            caller, start = Caller(airflow.address, CONNECTIONS), time.monotonic()
            calls = await asyncio.to_thread(caller.per_second, sizes.throughput, models=models)
            alone[models] = Rate(calls, _cores(spent, time.monotonic() - start))
    with echo() as server:
        pids = {"server": server.pid, "load": os.getpid()}
        bare = await calls_per_second(server.target, sizes, pids)
    rows = [
        _row("gateway", ours, ours),
        _row("apache-airflow-client, raw", alone[False], ours),
        _row("apache-airflow-client, with models", alone[True], ours),
        _row("bare grpc.aio echo", bare, ours),
    ]
    note = f"""Against a fake Airflow that answers at once. gRPC: {sizes.concurrency} calls in \
flight. apache-airflow-client: trigger, value and check from {CONNECTIONS} threads of one process.
Whoever has used a core up is what limits the figure. CPU per call: of the server; of the client, \
where there is none."""
    report.table("Calls per second", COLUMNS, rows, note)
    share = ours.calls / alone[False].calls
    report.bar("gateway against apache-airflow-client alone", share, 0.5, "times", at_least=True)


def _row(what: str, rate: Rate, ours: Rate) -> list[Cell]:
    cores = [rate.cores.get(name) for name in ("server", "load", "fake")]
    return [what, rate.calls, rate.calls / ours.calls, rate.cpu, rate.cpu / ours.cpu, *cores]


Span: TypeAlias = tuple[float, float]
"""When a call began and ended, in seconds."""


def calls_in(spans: Iterable[Span], start: float, end: float) -> float:
    """How many calls there were from `start` to `end`.

    One that was under way before or afterwards, too, counts by the share of its time that was not:
    calls end many at once, and a few of them more or less would be a tenth of a short while.
    """
    return sum(max(min(to, end) - max(began, start), 0) / (to - began) for began, to in spans)


async def calls_per_second(
    target: str,
    sizes: Sizes,
    pids: Mapping[str, int],
    dag_id: str = ANSWERED,
    warm_up: float = _WARM_UP,
) -> Rate:
    """Keep some calls in flight for a while, after so many seconds that do not count."""
    request = pb.InvokeRequest(dag_id=dag_id, conf=CONF)
    spans, told = list[Span](), asyncio.Event()
    under_way = dict[int, float]()

    async def repeat(caller: int, channel: grpc.aio.Channel) -> None:
        stub: Any = rpc.DagInferenceStub(channel)
        while not told.is_set():
            under_way[caller] = began = time.monotonic()
            await stub.Invoke(request, timeout=60)
            spans.append((began, time.monotonic()))

    async with connections(target) as channels, asyncio.TaskGroup() as group:
        for number in range(sizes.concurrency):
            group.create_task(repeat(number, channels[number % len(channels)]))
        await asyncio.sleep(warm_up)
        start, spent = time.monotonic(), _spent(pids)
        await asyncio.sleep(sizes.throughput)
        end = time.monotonic()
        cores = _cores(spent, end - start)
        # Those that are under way end among as many others as before.
        while min(under_way.values()) < end:  # noqa: ASYNC110 - each would have to tell
            await asyncio.sleep(0.01)
        told.set()
    return Rate(calls_in(spans, start, end) / (end - start), cores)


_Spent = dict[str, tuple[int, float]]


def _spent(pids: Mapping[str, int]) -> _Spent:
    # Of the load itself without its children, which are the others.
    return {
        name: (pid, sum(os.times()[:2]) if pid == os.getpid() else cpu_seconds(pid))
        for name, pid in pids.items()
    }


def _cores(before: _Spent, seconds: float) -> dict[str, float]:
    now = _spent({name: pid for name, (pid, _) in before.items()})
    return {name: (spent - before[name][1]) / seconds for name, (_, spent) in now.items()}
