"""What it costs that a call can be seen: metrics, its line in the log, its trace."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.fake.airflow import fake_airflow
from benchmarks.fake.collector import collector
from benchmarks.fake.throughput import Rate, calls_per_second
from benchmarks.gateway import gateway
from benchmarks.report import Cell, Report
from benchmarks.sizes import Sizes

_PROCESSES, _ROUNDS = 3, 6
"""Of each way: of two that do the same, one can be a tenth slower for as long as it lives, and a
machine is fast now and slow then."""

_WARM_UP = 0.3
"""Seconds."""

_NOTHING = {"METRICS_LISTEN": "off", "LOG_LEVEL": "error"}
_USUAL = {"LOG_LEVEL": "info", "LOG_FORMAT": "json"}

NOTE = f"""Of each way {_PROCESSES} gateways, all in turn, {_ROUNDS} times, none of them beside
another; the best of all of them, which the machine has disturbed least. Usual: metrics, and a line
of JSON for each call. Traces: beside them, for the calls that are recorded, a span for each of them
and of its stages; by default some of each second, or else every one."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Measure gateways that tell nothing, the usual, and all."""
    report.say("what it costs to be seen …")
    sizes = replace(sizes, throughput=3 * sizes.throughput / 10)
    rates: dict[str, list[Rate]] = defaultdict(list)
    with ExitStack() as stack:
        endpoint = stack.enter_context(collector())
        airflow = stack.enter_context(fake_airflow())
        traced = _USUAL | {"OTLP_ENDPOINT": endpoint}
        ways = {
            "nothing": _NOTHING,
            "usual": _USUAL,
            "all, by default": traced,
            "all, every call traced": traced | {"TRACES_PER_SECOND": "1000000"},
        }
        servers = [
            (way, stack.enter_context(gateway(airflow.address, **settings)))
            for _ in range(_PROCESSES)
            for way, settings in ways.items()
        ]
        # The first calls fill pools and caches.
        for number in range(-1, _ROUNDS):
            for way, server in servers:
                pids = {"server": server.pid, "load": os.getpid()}
                rate = await calls_per_second(server.target, sizes, pids, warm_up=_WARM_UP)
                if number >= 0:
                    rates[way].append(rate)
    calls = {way: max(rate.calls for rate in of_way) for way, of_way in rates.items()}
    cpu = {way: min(rate.cpu for rate in of_way) for way, of_way in rates.items()}
    rows: list[list[Cell]] = [
        [way, calls[way], calls[way] / calls["nothing"], cpu[way], cpu[way] / cpu["nothing"]]
        for way in ways
    ]
    columns = ("told", "calls /s", "relative", "CPU ms per call", "relative")
    report.table("What it costs to be seen", columns, rows, NOTE)
    share = calls["all, by default"] / calls["nothing"]
    report.bar("calls per second with metrics, log, traces", share, 0.95, "times", at_least=True)
