"""What it costs that a call can be seen: metrics, its line in the log, its trace."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import fmean, stdev

from benchmarks.fake.airflow import fake_airflow
from benchmarks.fake.collector import collector
from benchmarks.fake.throughput import Rate, calls_per_second
from benchmarks.gateway import Address, GatewayProcess, gateway
from benchmarks.report import Cell, Report
from benchmarks.sizes import Sizes

_NOTHING = {"METRICS_LISTEN": "off", "LOG_LEVEL": "error"}
_USUAL = {"LOG_LEVEL": "info", "LOG_FORMAT": "json"}

_PAIRS = {"usual": 6, "all, by default": 40, "all, every call traced": 6}
"""Gateways of each way, each beside one that tells nothing: of two that do the same, one is often a
tenth faster, by luck with memory, and what telling costs is less than that."""

_ORDER = (0, 1, 1, 0) * 2
"""Their turns, of a second: a machine that becomes slower, or faster, does so for both."""

_WARM_UP = 0.3
"""Seconds. What is told a moment later belongs to the turn after that."""

NOTE = f"""A gateway and one that tells nothing, in turns, and others of both after them; all calls
of {", ".join(f"{pairs} pairs ({way})" for way, pairs in _PAIRS.items())}. Usual:
metrics, and a line of JSON for each call. Traces: beside them, for the calls that are recorded, a
span for each of them and of its stages; by default some of each second, or else every one."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Measure gateways beside others that tell nothing."""
    report.say("what it costs to be seen …")
    sizes = replace(sizes, throughput=sizes.throughput / 10)
    rows: list[list[Cell]] = []
    with collector() as endpoint, fake_airflow() as airflow:
        traced = _USUAL | {"OTLP_ENDPOINT": endpoint}
        ways = {
            "usual": _USUAL,
            "all, by default": traced,
            "all, every call traced": traced | {"TRACES_PER_SECOND": "1000000"},
        }
        for way, settings in ways.items():
            pairs = [
                await _beside_nothing(airflow.address, settings, sizes, layout)
                for layout in range(_PAIRS[way])
            ]
            nothing, ours = (_together(rates) for rates in zip(*pairs, strict=True))
            calls, cpu = ours.calls / nothing.calls, ours.cpu / nothing.cpu
            by_pair = [one.calls / none.calls for none, one in pairs]
            error = stdev(by_pair) / len(by_pair) ** 0.5
            rows.append([way, ours.calls, calls, error, ours.cpu, cpu])
    columns = ("told", "calls /s", "relative", "standard error", "CPU ms per call", "relative")
    report.table("What it costs to be seen, beside telling nothing", columns, rows, NOTE)
    share = float(rows[1][2] or 0)
    report.bar(
        "calls per second with metrics, log, traces by default", share, 0.95, "times", at_least=True
    )


async def _beside_nothing(
    airflow: Address, settings: dict[str, str], sizes: Sizes, layout: int
) -> tuple[Rate, Rate]:
    """The rates of a gateway without words, and of one with these settings."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(gateway(airflow, layout, **each)) for each in (_NOTHING, settings)
        ]
        # The first calls fill pools and caches.
        for server in servers:
            await _turn(server, replace(sizes, throughput=0.5))
        turns: tuple[list[Rate], list[Rate]] = ([], [])
        for which in _ORDER:
            turns[which].append(await _turn(servers[which], sizes))
    nothing, ours = turns
    return _together(nothing), _together(ours)


def _together(turns: Sequence[Rate]) -> Rate:
    """The rate of turns that were equally long."""
    cores = {"server": fmean(turn.cores["server"] for turn in turns)}
    return Rate(fmean(turn.calls for turn in turns), cores)


async def _turn(server: GatewayProcess, sizes: Sizes) -> Rate:
    pids = {"server": server.pid, "load": os.getpid()}
    return await calls_per_second(server.target, sizes, pids, warm_up=_WARM_UP)
