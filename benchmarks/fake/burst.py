"""A burst of calls: does each get an answer, or an error that says what happened?"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import grpc

from benchmarks.calls import CONNECTIONS, connections
from benchmarks.fake.airflow import ANSWERED, fake_airflow
from benchmarks.gateway import gateway
from benchmarks.report import Cell, Report
from benchmarks.sizes import Sizes
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc

_PATIENCE = 280
_DETAILS = "grpc-status-details-bin"

OK = "OK"


async def measure(sizes: Sizes, report: Report) -> None:
    """Make many calls at once."""
    report.say(f"{sizes.many:,} calls at once …")
    with fake_airflow() as airflow, gateway(airflow.address) as server:
        async with connections(server.target) as channels:
            stubs: list[Any] = [rpc.DagInferenceStub(channel) for channel in channels]
            start = time.monotonic()
            calls = [
                stubs[number % len(stubs)].Invoke(
                    pb.InvokeRequest(dag_id=ANSWERED), timeout=_PATIENCE
                )
                for number in range(sizes.many)
            ]
            outcomes = Counter(await asyncio.gather(*map(outcome, calls)))
            seconds = time.monotonic() - start
    rows: list[list[Cell]] = [[outcome, count] for outcome, count in outcomes.most_common()]
    note = f"""On {CONNECTIONS} connections, with a deadline of {_PATIENCE} s; the last one \
was answered after {seconds:.1f} s, {outcomes[OK] / seconds:.0f} OK a second.
Bare: without {_DETAILS}, so that the caller does not learn what happened."""
    report.table(f"A burst of {sizes.many:,} calls", ("outcome", "calls"), rows, note)
    bare = sum(count for outcome, count in outcomes.items() if outcome.startswith("bare"))
    report.bar(f"bare statuses in a burst of {sizes.many:,}", bare, 0, "calls")


async def outcome(call: Any) -> str:
    """How a call ended: `OK`, or its code and whether the caller learns what happened."""
    # Not by awaiting the call itself, which raises `CancelledError` for a status CANCELLED.
    code = await call.code()
    if code is grpc.StatusCode.OK:
        return OK
    coded = any(key == _DETAILS for key, _ in await call.trailing_metadata() or ())
    return f"{'coded' if coded else 'bare'} {code.name}"
