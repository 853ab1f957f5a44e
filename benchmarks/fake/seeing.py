"""What it costs that a call can be seen: metrics, its line in the log, its trace."""

from __future__ import annotations

import os
from statistics import median

from benchmarks.fake.airflow import fake_airflow
from benchmarks.fake.collector import collector
from benchmarks.fake.throughput import Rate, calls_per_second
from benchmarks.gateway import gateway
from benchmarks.report import Cell, Report
from benchmarks.sizes import Sizes

_ROUNDS = 3

_NOTHING = {"METRICS_LISTEN": "off", "LOG_LEVEL": "error"}
_USUAL = {"LOG_LEVEL": "info", "LOG_FORMAT": "json"}

NOTE = f"""Each gateway by itself, in turn, {_ROUNDS} times; medians. Usual: metrics, and a line of
JSON for each call. Traces: beside them, for the calls that are recorded, a span for each of them
and each of its stages; by default some of each second, or else every one."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Measure gateways that tell nothing, the usual, and all."""
    report.say("what it costs to be seen …")
    rates: dict[str, list[Rate]] = {}
    with collector() as endpoint:
        ways = {
            "nothing": _NOTHING,
            "usual": _USUAL,
            "all, by default": _USUAL | {"OTLP_ENDPOINT": endpoint},
            "all, every call traced": _USUAL
            | {"OTLP_ENDPOINT": endpoint, "TRACES_PER_SECOND": "1000000"},
        }
        for _ in range(_ROUNDS):
            for way, settings in ways.items():
                with (
                    fake_airflow() as airflow,
                    gateway(airflow.address, **settings) as server,
                ):
                    pids = {"server": server.pid, "load": os.getpid()}
                    rate = await calls_per_second(server.target, sizes, pids)
                    rates.setdefault(way, []).append(rate)
    calls = {way: median(rate.calls for rate in of_way) for way, of_way in rates.items()}
    cpu = {way: median(rate.cpu for rate in of_way) for way, of_way in rates.items()}
    rows: list[list[Cell]] = [
        [way, calls[way], calls[way] / calls["nothing"], cpu[way], cpu[way] / cpu["nothing"]]
        for way in rates
    ]
    columns = ("told", "calls /s", "relative", "CPU ms per call", "relative")
    report.table("What it costs to be seen", columns, rows, NOTE)
    share = calls["all, by default"] / calls["nothing"]
    report.bar("calls per second with metrics, log, traces", share, 0.95, "times", at_least=True)
