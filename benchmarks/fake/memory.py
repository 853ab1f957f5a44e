"""What a parked call costs in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from benchmarks.calls import Call, connections, exists, invoke, wait
from benchmarks.fake.airflow import PARKED, fake_airflow
from benchmarks.fake.echo import echo
from benchmarks.gateway import GatewayProcess, gateway
from benchmarks.processes import memory
from benchmarks.report import Cell, Report
from benchmarks.sizes import Sizes
from dag_inference.v1 import dag_inference_pb2 as pb

_PATIENCE = 3600

_AT_ONCE = 100
"""Calls that are on their way to be parked: more would measure a queue."""

_SETTLES = 5
"""Seconds."""

_PARKED_WITHIN = 300
"""Seconds, or it is given up."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Measure the gateway, and gRPC alone."""
    report.say(f"memory of {sizes.many:,} parked calls …")
    with fake_airflow() as airflow, gateway(airflow.address) as server:
        ours = await _per_call(server, _invoke, sizes.many)
    with echo() as server:
        bare = await _per_call(server, _wait, sizes.many)
    rows: list[list[Cell]] = [
        ["gateway, Invoke", sizes.many, ours, ours / bare],
        ["bare grpc.aio", sizes.many, bare, 1.0],
    ]
    note = "Growth of the server's resident memory from before the calls until all are parked."
    report.table("Memory", ("", "parked calls", "KiB per call", "relative"), rows, note)
    report.bar(f"memory per call, {sizes.many:,} parked", ours, 40, "KiB")


def _invoke(channel: grpc.aio.Channel) -> Call:
    return invoke(channel)(pb.InvokeRequest(dag_id=PARKED), timeout=_PATIENCE)


def _wait(channel: grpc.aio.Channel) -> Call:
    return wait(channel)(pb.WaitRequest(dag_id=PARKED, run_id="grpc-0"), timeout=_PATIENCE)


async def _per_call(
    server: GatewayProcess, call: Callable[[grpc.aio.Channel], Call], count: int
) -> float:
    """KiB for each of so many calls."""
    async with connections(server.target) as channels:
        # The first calls fill caches and pools.
        calls = await _parked(channels, call, _AT_ONCE)
        await asyncio.sleep(_SETTLES)
        before = memory(server.pid)
        calls += await _parked(channels, call, count)
        await asyncio.sleep(_SETTLES)
        grown = memory(server.pid) - before
        if any(parked.done() for parked in calls):
            raise RuntimeError("a call has ended that should have been parked")
        for parked in calls:
            parked.cancel()
    return grown / count / 1024


async def _parked(
    channels: Sequence[Any], call: Callable[[grpc.aio.Channel], Call], count: int
) -> list[Call]:
    """Make so many calls; they are there once all of them are parked."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def park(channel: grpc.aio.Channel) -> Call:
        async with turn:
            return await exists(call(channel))

    parks = (park(channels[n % len(channels)]) for n in range(count))
    return await asyncio.wait_for(asyncio.gather(*parks), _PARKED_WITHIN)
