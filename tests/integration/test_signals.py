"""What signals do to the process: it ends in order, in time, and with exit code 0."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals
from typing import Any

import grpc
import pytest

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from fakes.airflow import Dag, FakeAirflow
from gateway_process import GatewayProcess, environment_for, gateway_process
from integration.statuses import failure
from integration.waiting import PATIENCE, eventually, first_run

CALLS = 1000


@pytest.fixture
async def process(airflow: FakeAirflow, grace: str) -> AsyncIterator[GatewayProcess]:
    """A gateway in a process of its own."""
    environment = environment_for(airflow, SHUTDOWN_GRACE=grace)
    async with gateway_process(environment) as process:
        yield process


@pytest.mark.parametrize("grace", ["10"])
async def test_each_of_a_thousand_calls_is_told(
    airflow: FakeAirflow, process: GatewayProcess
) -> None:
    """Those whose results come within the grace get them, the others where they go on."""
    dag = airflow.add(Dag("dag"))
    async with grpc.aio.insecure_channel(process.target) as channel:
        stub: Any = rpc.DagInferenceStub(channel)
        request = pb.InvokeRequest(dag_id="dag")
        calls = [
            asyncio.ensure_future(_ends(stub.Invoke(request, timeout=120))) for _ in range(CALLS)
        ]
        await eventually(lambda: len(dag.made) == CALLS, 60)
        await airflow.polls(3)

        process.signal()
        dag.made[0].finish("predict", 1)
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        for run in dag.made[2::2]:
            run.finish("predict", 1)
        told = await asyncio.gather(*calls)

    assert await process.ended() == 0
    assert {run_id for run_id, _ in told} == {run.run_id for run in dag.made}
    reasons = dict(told)
    assert reasons[dag.made[0].run_id] == "OK"
    # As many as the machine manages within the grace.
    assert {reasons[run.run_id] for run in dag.made[2::2]} <= {"OK", "SHUTTING_DOWN"}
    assert {reasons[run.run_id] for run in dag.made[1::2]} == {"SHUTTING_DOWN"}


@pytest.mark.parametrize("grace", ["600"])
@pytest.mark.parametrize("numbers", [[SIGINT], [SIGTERM], [SIGHUP], [SIGINT, SIGTERM]])
async def test_whoever_ends_it(
    airflow: FakeAirflow, process: GatewayProcess, numbers: list[Signals]
) -> None:
    """Calls in flight have the grace, and it exits with 0.

    Also where one signal comes by two ways: of the terminal, and of who has started it.
    """
    dag = airflow.add(Dag("dag"))
    async with grpc.aio.insecure_channel(process.target) as channel:
        stub: Any = rpc.DagInferenceStub(channel)
        call = asyncio.ensure_future(_ends(stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=90)))
        run = await first_run(dag)
        await airflow.polls(2)

        for number in numbers:
            process.signal(number)
        await _refuses(stub)
        run.finish("predict", 1)

        assert await call == (run.run_id, "OK")
    assert await process.ended() == 0


async def test_a_terminal_that_is_closed(airflow: FakeAirflow) -> None:
    """As at the end of an ssh session: the same, although there is nobody to log to any more."""
    dag = airflow.add(Dag("dag"))
    environment = environment_for(airflow, LISTEN="127.0.0.1:0", METRICS_LISTEN="off")
    async with _in_a_terminal(environment) as (process, port, close):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = rpc.DagInferenceStub(channel)
            request = pb.InvokeRequest(dag_id="dag")
            call = asyncio.ensure_future(_ends(stub.Invoke(request, timeout=90)))
            run = await first_run(dag)
            await airflow.polls(2)

            close()
            await _refuses(stub)
            run.finish("predict", 1)

            assert await call == (run.run_id, "OK")
        assert await process.wait() == 0


@pytest.mark.parametrize("grace", ["600"])
async def test_a_second_signal_hurries_it(airflow: FakeAirflow, process: GatewayProcess) -> None:
    """It still tells the calls in flight where they go on, and exits with 0."""
    dag = airflow.add(Dag("dag"))
    async with grpc.aio.insecure_channel(process.target) as channel:
        stub: Any = rpc.DagInferenceStub(channel)
        call = asyncio.ensure_future(_ends(stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=90)))
        await eventually(lambda: dag.made)
        await airflow.polls(2)
        process.signal()
        await _refuses(stub)

        # What comes within 0.3 s of the first is no second one.
        while not (await asyncio.wait({call}, timeout=0.3))[0]:
            process.signal()

        assert await call == (dag.made[0].run_id, "SHUTTING_DOWN")
    assert await process.ended() == 0


@asynccontextmanager
async def _in_a_terminal(
    environment: Mapping[str, str],
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, Callable[[], None]]]:
    """A gateway that serves in a terminal of its own: the process, its port, and what closes it."""
    ours, terminal = os.openpty()
    closing = ExitStack()
    closing.callback(os.close, ours)
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        'exec "$0" serve <>"$1" >&0 2>&1',
        Path(sys.executable).with_name("dag-inference-server"),
        os.ttyname(terminal),
        env=environment,
        # The first terminal that the first process of a session opens is that session's.
        start_new_session=True,
    )
    try:
        said = ""
        while not (found := re.search(r"gRPC on port (\d+)\s", said)):
            said += (await asyncio.to_thread(os.read, ours, 4096)).decode()
        yield process, found[1], closing.close
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        os.close(terminal)
        closing.close()
        await process.wait()


async def _ends(call: Any) -> tuple[str, str]:
    """The run id of a call, and how it ended."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        failed = await failure(_raise(error))
        return failed.metadata["run_id"], failed.reason
    return answer.run.run_id, "OK"


async def _refuses(stub: Any) -> None:
    """Wait until new calls are refused because it goes away."""
    nowhere = pb.InvokeRequest(dag_id="nowhere")
    async with asyncio.timeout(PATIENCE):
        while (await failure(stub.Invoke(nowhere, timeout=5))).reason != "SHUTTING_DOWN":
            pass


async def _raise(error: Exception) -> None:
    raise error
