"""What it costs that a call can be seen: metrics, its line in the log, its trace."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

from benchmarks.fake.airflow import fake_airflow
from benchmarks.fake.collector import collector
from benchmarks.fake.throughput import Rate, calls_per_second
from benchmarks.gateway import gateway
from benchmarks.report import Cell, Report
from benchmarks.sizes import Sizes

_ROUNDS = 12
"""Short ones, each way beside all others: a machine is fast now and slow then."""

_NOTHING = {"METRICS_LISTEN": "off", "LOG_LEVEL": "error"}
_USUAL = {"LOG_LEVEL": "info", "LOG_FORMAT": "json"}

NOTE = f"""The gateways in turn, {_ROUNDS} times, none of them beside another; medians, and medians
of what each round has beside telling nothing. Usual: metrics, and a line of JSON for each call.
Traces: beside them, for the calls that are recorded, a span for each of them and of its stages; by
default some of each second, or else every one."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Measure gateways that tell nothing, the usual, and all."""
    report.say("what it costs to be seen …")
    sizes = replace(sizes, throughput=3 * sizes.throughput / _ROUNDS)
    rates: dict[str, list[Rate]] = defaultdict(list)
    with ExitStack() as stack:
        endpoint = stack.enter_context(collector())
        airflow = stack.enter_context(fake_airflow())
        traced = _USUAL | {"OTLP_ENDPOINT": endpoint}
        servers = {
            way: stack.enter_context(gateway(airflow.address, **settings))
            for way, settings in {
                "nothing": _NOTHING,
                "usual": _USUAL,
                "all, by default": traced,
                "all, every call traced": traced | {"TRACES_PER_SECOND": "1000000"},
            }.items()
        }
        # The first calls fill pools and caches.
        for number in range(-1, _ROUNDS):
            for way, server in servers.items():
                pids = {"server": server.pid, "load": os.getpid()}
                rate = await calls_per_second(server.target, sizes, pids)
                if number >= 0:
                    rates[way].append(rate)
    calls = {way: [rate.calls for rate in of_way] for way, of_way in rates.items()}
    cpu = {way: [rate.cpu for rate in of_way] for way, of_way in rates.items()}
    rows: list[list[Cell]] = [
        [way, median(calls[way]), _beside(calls, way), median(cpu[way]), _beside(cpu, way)]
        for way in rates
    ]
    columns = ("told", "calls /s", "relative", "CPU ms per call", "relative")
    report.table("What it costs to be seen", columns, rows, NOTE)
    share = _beside(calls, "all, by default")
    report.bar("calls per second with metrics, log, traces", share, 0.95, "times", at_least=True)


def _beside(of_ways: Mapping[str, Sequence[float]], way: str) -> float:
    """What a way has of what telling nothing has in the same round."""
    pairs = zip(of_ways[way], of_ways["nothing"], strict=True)
    return median(one / other for one, other in pairs)
