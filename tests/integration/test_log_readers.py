"""Nobody has to read what the gateway says: it starts, serves and ends all the same."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import grpc
import psutil
import pytest

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from fakes.airflow import Dag, FakeAirflow, steps
from gateway_process import environment_for, gateway_process
from integration.waiting import eventually


async def test_a_log_that_takes_no_line(airflow: FakeAirflow) -> None:
    """A disk that is full costs lines: the gateway starts, and answers calls, all the same."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with (
        gateway_process(environment_for(airflow), Path("/dev/full")) as process,
        grpc.aio.insecure_channel(process.target) as channel,
    ):
        await rpc.DagInferenceStub(channel).Invoke(pb.InvokeRequest(dag_id="dag"), timeout=10)


@pytest.mark.parametrize("form", ["json", "text"])
async def test_a_log_whose_reader_reads_nothing(
    airflow: FakeAirflow, tmp_path: Path, form: str
) -> None:
    """A pipe that is full costs lines: the gateway starts, answers calls and ends all the same."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    pipe = tmp_path / "log"
    with full(pipe):
        settings = {"LOG_LEVEL": "debug", "LOG_FORMAT": form}
        async with gateway_process(environment_for(airflow, **settings), pipe) as process:
            async with grpc.aio.insecure_channel(process.target) as channel:
                for _ in range(10):
                    request = pb.InvokeRequest(dag_id="dag")
                    await rpc.DagInferenceStub(channel).Invoke(request, timeout=10)
            process.signal()
            assert await process.ended() == 0


@contextmanager
def full(pipe: Path) -> Iterator[None]:
    """Make a pipe whose reader reads nothing, which can take nothing more."""
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    yield
    os.close(writer)
    # As full as it was: nothing has found room.
    assert set(os.read(reader, 1_000_000)) == {ord("x")}
    os.close(reader)


@asynccontextmanager
async def started(
    airflow: FakeAirflow, closed: str = "", *, out: Path | None = None, **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a gateway on a free port, or the one that is set, and kill it if it does not end."""
    command = Path(sys.executable).with_name("dag-inference-server")
    listen = {"LISTEN": "127.0.0.1:0", "METRICS_LISTEN": "off"}
    with (out or Path(os.devnull)).open("ab", buffering=0) as file:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", f'exec "$0" serve {closed}', command),
            env=environment_for(airflow, **{**listen, **settings}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def port_of(process: asyncio.subprocess.Process) -> int:
    """Where it listens, once it does."""

    def listening() -> set[int]:
        sockets = psutil.Process(process.pid).net_connections("tcp")
        return {s.laddr.port for s in sockets if s.status == psutil.CONN_LISTEN}

    (port,) = await eventually(listening)
    return port


async def serves(process: asyncio.subprocess.Process) -> None:
    """Make sure that it answers a call, and ends in order."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await port_of(process)}") as channel:
        request = pb.InvokeRequest(dag_id="dag")
        stub = rpc.DagInferenceStub(channel)
        await stub.Invoke(request, timeout=10, wait_for_ready=True)
    process.terminate()
    async with asyncio.timeout(30):
        assert await process.wait() == 0


async def test_whoever_does_not_read_where_it_serves(airflow: FakeAirflow, tmp_path: Path) -> None:
    """Keeps nobody from being served there, nor the gateway from ending."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    with full(tmp_path / "out"):
        async with started(airflow, out=tmp_path / "out") as process:
            await serves(process)


async def test_whoever_does_not_read_why_it_does_not_start(
    airflow: FakeAirflow, tmp_path: Path
) -> None:
    """Hears so by its exit code."""
    with full(tmp_path / "out"), socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        async with started(airflow, out=tmp_path / "out", LISTEN=listen) as process:
            async with asyncio.timeout(30):
                assert await process.wait() == 2


@pytest.mark.parametrize(
    ("closed", "form"),
    [
        ("0<&-", "json"),
        ("1>&-", "text"),
        ("2>&-", "json"),
        ("2>&-", "text"),
        ("0<&- 1>&- 2>&-", "json"),
    ],
)
async def test_what_is_closed(airflow: FakeAirflow, closed: str, form: str) -> None:
    """As some supervisors have it, leads nowhere: into no file or connection of its number."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with started(airflow, closed, LOG_LEVEL="debug", LOG_FORMAT=form) as process:
        await port_of(process)
        files = Path("/proc") / str(process.pid) / "fd"
        for number in "012":
            assert (files / number).readlink() == Path(os.devnull)
        await serves(process)
