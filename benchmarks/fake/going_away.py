"""SIGTERM with many calls in flight: how each ends, and whether the process has ended in time."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from benchmarks.calls import CONNECTIONS, Call, answer, connections, exists, invoke
from benchmarks.fake.airflow import LASTING, PARKED, FakeProcess, fake_airflow
from benchmarks.gateway import gateway
from benchmarks.report import Cell, Report
from benchmarks.sizes import Sizes
from dag_inference.v1 import dag_inference_pb2 as pb

_PARKED, _LASTING = 1000, 100
_GRACE = 10
"""Seconds."""

_PATIENCE = 120
_PENDING = 100
"""Calls that are on their way to be parked."""

_DETAILS = "grpc-status-details-bin"
_OK, _TOLD, _OTHER = "OK", "UNAVAILABLE with run id", "other"

NOTE = f"""SIGTERM with {_PARKED:,} calls whose runs do not end and {_LASTING} whose runs end a \
second later, on {CONNECTIONS} connections;
SHUTDOWN_GRACE={_GRACE}. In time by: how long before the end of the grace the process had exited. \
Traces: some calls are
traced, and their collector takes connections and never says a word."""


async def measure(sizes: Sizes, report: Report) -> None:
    """Let gateways go, without traces and with a collector that does not answer."""
    report.say("going away …")
    rows: list[list[Cell]] = []
    with fake_airflow() as airflow, _deaf_collector() as endpoint:
        cases: dict[str, dict[str, str]] = {"usual": {}, "traces": {"OTLP_ENDPOINT": endpoint}}
        for what, settings in cases.items():
            ends, late, code = await _going(airflow, settings)
            counts = [ends[end] for end in (_OK, _TOLD, _OTHER)]
            rows.append([what, *counts, -late, code])
            report.bar(f"exit after the end of the grace, {what}", late, 0, "s")
            report.bar(f"calls that were told nothing, {what}", ends[_OTHER], 0, "calls")
            report.bar(f"exit code, {what}", abs(code), 0, "")
    columns = ("", _OK, _TOLD, _OTHER, "in time by, s", "exit code")
    report.table(f"Going away with {_PARKED + _LASTING:,} calls in flight", columns, rows, NOTE)


async def _going(
    airflow: FakeProcess, settings: Mapping[str, str]
) -> tuple[Counter[str], float, int]:
    """How the calls ended, how many seconds after the grace the process did, and its exit code."""
    with gateway(airflow.address, SHUTDOWN_GRACE=str(_GRACE), **settings) as server:
        async with connections(server.target) as channels:
            turn = asyncio.Semaphore(_PENDING)

            async def started(number: int, dag_id: str) -> Call:
                channel = channels[number % len(channels)]
                async with turn:
                    request = pb.InvokeRequest(dag_id=dag_id)
                    return await exists(invoke(channel)(request, timeout=_PATIENCE))

            calls = await asyncio.gather(*(started(n, PARKED) for n in range(_PARKED)))
            calls += await asyncio.gather(*(started(n, LASTING) for n in range(_LASTING)))
            ends = asyncio.gather(*map(_end, calls))
            server.process.send_signal(signal.SIGTERM)
            start = time.monotonic()
            code = await asyncio.to_thread(server.process.wait)
            late = time.monotonic() - start - _GRACE
            return Counter(await ends), late, code


async def _end(call: Call) -> str:
    """How a call ended."""
    try:
        await answer(call)
    except grpc.aio.AioRpcError as error:
        info, told = ErrorInfo(), dict(error.trailing_metadata() or ()).get(_DETAILS, b"")
        has_run = any(
            packed.Unpack(info) and info.metadata["run_id"]
            for packed in Status.FromString(told).details
        )
        is_told = has_run and error.code() is grpc.StatusCode.UNAVAILABLE
        return _TOLD if is_told else _OTHER
    return _OK


@contextmanager
def _deaf_collector() -> Iterator[str]:
    """An address that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
