"""When a channel repeats a call by itself, and that nothing but the service config decides it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

import dag_inference
from dag_inference import AsyncDagInferenceClient, DagInferenceClient, DagInferenceError
from dag_inference._channels import channel_options
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc

if TYPE_CHECKING:
    from typing import NoReturn

Serve = Callable[..., str]

FILE = Path(dag_inference.__file__).with_name("service_config.json")
ATTEMPTS = 5
AT_ONCE = "1"
"""Milliseconds."""


class Unwilling:
    """A gateway that refuses, and keeps what it was asked and when."""

    def __init__(
        self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, pushback: str | None = AT_ONCE
    ) -> None:
        """Refuse with this status, and say when to come back."""
        self._code = code
        self._pushback = pushback
        self.requests: list[Any] = []
        self.times: list[float] = []

    def __call__(self, request: object, context: grpc.ServicerContext) -> NoReturn:
        """Refuse."""
        self.requests.append(request)
        self.times.append(time.monotonic())
        if self._pushback is not None:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", self._pushback),))
        context.abort(self._code, "not now")

    @property
    def asked(self) -> int:
        """How often it was asked."""
        return len(self.requests)


def invoke(target: str, **options: Any) -> None:
    """Call, and get an error."""
    with DagInferenceClient(target, **options) as client, pytest.raises(DagInferenceError):
        client.invoke("iris", timeout=30)


REPEATED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
repeated = pytest.mark.parametrize("code", REPEATED, ids=lambda code: code.name)


async def invoke_aio(target: str, **options: Any) -> None:
    """The same with asyncio."""
    async with AsyncDagInferenceClient(target, **options) as client:
        with pytest.raises(DagInferenceError):
            await client.invoke("iris", timeout=30)


def test_the_file_is_what_the_clients_use() -> None:
    """What another language copies is what this client does."""
    assert dict(channel_options(()))["grpc.service_config"] == FILE.read_text()


def test_the_readme_shows_the_file() -> None:
    """The README is where users of other languages find it."""
    readme = Path(__file__).parents[3] / "clients" / "python" / "README.md"
    assert f"```json\n{FILE.read_text()}```" in readme.read_text()


def test_every_method_is_named() -> None:
    """A method that is added later is repeated only if somebody has thought of it."""
    (config,) = json.loads(FILE.read_text())["methodConfig"]
    service = pb.DESCRIPTOR.services_by_name["DagInference"]
    assert config["name"] == [
        {"service": service.full_name, "method": method.name} for method in service.methods
    ]


@repeated
async def test_what_a_gateway_that_goes_says_is_repeated_with_the_same_request_id(
    serve: Serve, code: grpc.StatusCode
) -> None:
    """Five attempts are one call: a gateway makes one run of them."""
    gateway = Unwilling(code)
    target = serve(Invoke=gateway)

    await asyncio.to_thread(invoke, target)
    assert gateway.asked == ATTEMPTS
    await invoke_aio(target)
    assert gateway.asked == 2 * ATTEMPTS

    ids = [request.request_id for request in gateway.requests]
    assert [len(set(ids[:ATTEMPTS])), len(set(ids[ATTEMPTS:])), len(set(ids))] == [1, 1, 2]


@pytest.mark.parametrize("method", ["InvokeStream", "Wait", "Watch", "Cancel"])
def test_every_other_method_is_repeated_too(serve: Serve, method: str) -> None:
    """Streams, as long as nothing of them has come, and all that makes no run anyway."""
    gateway = Unwilling()
    with DagInferenceClient(serve(**{method: gateway})) as client:
        ways: dict[str, Callable[[], object]] = {
            "InvokeStream": lambda: list(client.stream("iris", timeout=30)),
            "Wait": lambda: client.wait("iris", "grpc-1", timeout=30),
            "Watch": lambda: list(client.watch("iris", "grpc-1", timeout=30)),
            "Cancel": lambda: client.cancel("iris", "grpc-1", timeout=30),
        }
        with pytest.raises(DagInferenceError):
            ways[method]()
    assert gateway.asked == ATTEMPTS


@pytest.mark.parametrize(
    "code",
    [code for code in grpc.StatusCode if code not in (grpc.StatusCode.OK, *REPEATED)],
    ids=lambda code: code.name,
)
def test_nothing_else_is_repeated(serve: Serve, code: grpc.StatusCode) -> None:
    """A failed DAG least of all, though a pushback should invite to it."""
    gateway = Unwilling(code)
    invoke(serve(Invoke=gateway))
    assert gateway.asked == 1


@pytest.mark.parametrize(
    ("pushback", "shortest", "longest"), [(None, 0.1, 0.5), ("900", 0.9, 1.8)], ids=str
)
def test_the_gateway_says_when(
    serve: Serve, pushback: str | None, shortest: float, longest: float
) -> None:
    """The first repeat comes after the policy's backoff, or after the gateway's own."""
    gateway = Unwilling(pushback=pushback)
    with DagInferenceClient(serve(Invoke=gateway)) as client, pytest.raises(DagInferenceError):
        client.invoke("iris", timeout=longest)
    first, second, *_ = gateway.times
    assert shortest <= second - first < longest


def test_the_gateway_says_never(serve: Serve) -> None:
    """A negative pushback ends the repeats."""
    gateway = Unwilling(pushback="-1")
    invoke(serve(Invoke=gateway))
    assert gateway.asked == 1


@pytest.mark.parametrize("way", ["invoke", "stream", "wait"])
def test_the_gateway_goes_and_nobody_comes(way: str) -> None:
    """It refuses, and is gone when the call comes again: the call ends all the same."""
    reached = Event()

    def refuse(request: object, context: grpc.ServicerContext) -> NoReturn:
        reached.set()
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "300"),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "going")

    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    methods = {name: staticmethod(refuse) for name in ("Invoke", "InvokeStream", "Wait")}
    servicer = type("Going", (rpc.DagInferenceServicer,), methods)()
    rpc.add_DagInferenceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with DagInferenceClient(f"127.0.0.1:{port}") as client:
        ways: dict[str, Callable[[], object]] = {
            "invoke": lambda: client.invoke("iris", timeout=10),
            "stream": lambda: list(client.stream("iris", timeout=10)),
            "wait": lambda: client.wait("iris", "grpc-1", timeout=10),
        }
        with ThreadPoolExecutor() as calling:
            call = calling.submit(ways[way])
            assert reached.wait(10)
            server.stop(None).wait()
            with pytest.raises(DagInferenceError) as caught:
                call.result(30)

    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


async def test_an_outage_ends_the_repeats(serve: Serve) -> None:
    """Hundreds of calls that fail at once do not become five times as many for long."""
    calls, tokens = 300, json.loads(FILE.read_text())["retryThrottling"]["maxTokens"]
    gateway = Unwilling()
    async with AsyncDagInferenceClient(serve(Invoke=gateway)) as client:
        errors = await asyncio.gather(
            *(client.invoke("iris", timeout=30) for _ in range(calls)), return_exceptions=True
        )
        assert all(isinstance(error, DagInferenceError) for error in errors)
    # Half of the tokens were spent, and then the calls that were under way had their last try.
    assert tokens // 2 <= gateway.asked < tokens // 2 + calls


def test_a_large_conf_is_repeated(serve: Serve) -> None:
    """As large as a gateway takes it, and not only what gRPC keeps by default."""
    gateway = Unwilling()
    with DagInferenceClient(serve(Invoke=gateway)) as client, pytest.raises(DagInferenceError):
        client.invoke("iris", {"text": "x" * 3_900_000}, timeout=30)
    assert gateway.asked == ATTEMPTS


TWO_ATTEMPTS = FILE.read_text().replace(f'"maxAttempts": {ATTEMPTS}', '"maxAttempts": 2')


@pytest.mark.parametrize(
    ("option", "attempts"),
    [(("grpc.enable_retries", 0), 1), (("grpc.service_config", TWO_ATTEMPTS), 2)],
    ids=["none", "own policy"],
)
async def test_the_callers_options_win(
    serve: Serve, option: tuple[str, Any], attempts: int
) -> None:
    """Repeats can be turned off, and replaced."""
    gateway = Unwilling()
    target = serve(Invoke=gateway)
    await asyncio.to_thread(invoke, target, options=[option])
    assert gateway.asked == attempts
    await invoke_aio(target, options=[option])
    assert gateway.asked == 2 * attempts


async def test_what_the_caller_cancels_is_not_repeated(serve: Serve) -> None:
    """A caller that goes has gone."""
    reached, gone = Event(), Event()
    asked: list[Any] = []

    def hang(request: object, context: grpc.ServicerContext) -> Any:
        asked.append(request)
        if gone.is_set():
            # Long enough for a first repeat by the policy's own backoff.
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "500"),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "another")
        context.add_callback(gone.set)
        reached.set()
        gone.wait(30)
        context.abort(grpc.StatusCode.CANCELLED, "gone")

    async with AsyncDagInferenceClient(serve(Invoke=hang)) as client:
        call = asyncio.create_task(client.invoke("iris", timeout=30))
        assert await asyncio.to_thread(reached.wait, 30)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(gone.wait, 30)
        with pytest.raises(DagInferenceError):
            await client.invoke("iris", timeout=30)
    first, *others = [request.request_id for request in asked]
    assert len(others) == ATTEMPTS
    assert first not in others


async def test_a_channel_of_ones_own_is_left_as_it_is(serve: Serve) -> None:
    """Whoever opens the channel says what it repeats."""
    gateway = Unwilling()
    target = serve(Invoke=gateway)
    with grpc.insecure_channel(target) as channel:
        await asyncio.to_thread(invoke, target, channel=channel)
    assert gateway.asked == 1
    async with grpc.aio.insecure_channel(target) as aio_channel:
        await invoke_aio(target, channel=aio_channel)
    assert gateway.asked == 2


async def test_a_gateway_that_is_back_is_seen_soon() -> None:
    """A channel goes on trying to connect about once a second, however often it was in vain."""
    tries: list[float] = []

    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tries.append(time.monotonic())
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as nearly:
        host, port = nearly.sockets[0].getsockname()
        await invoke_aio(f"{host}:{port}")

    pauses = [after - before for before, after in pairwise(tries)]
    assert len(pauses) > 3
    # By default they grow: the fourth is more than three seconds, and none after it is shorter. A
    # busy machine may make any one of them longer than it should be.
    assert min(pauses[3:]) < 2.2
