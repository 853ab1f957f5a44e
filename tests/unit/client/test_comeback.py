"""A call that loses its gateway when its run exists goes on with that run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from threading import Event
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from dag_inference import (
    Accepted,
    AirflowUnavailable,
    AsyncDagInferenceClient,
    Completed,
    DagInferenceClient,
    DagInferenceError,
    DeadlineExceeded,
)
from dag_inference.errors import DOMAIN
from dag_inference.v1 import dag_inference_pb2 as pb

Serve = Callable[..., str]

RUN = pb.Run(dag_id="iris", run_id="grpc-1")
ANSWER = pb.InvokeResponse(run=RUN)
_REPEAT = "grpc-previous-rpc-attempts"
HALF = 0.5
"""Of a deadline, in seconds."""

LOSSES = 5
"""How often a call comes back, after that it is lost."""


class Gateway:
    """A gateway that is lost so many times after it has told the run id."""

    def __init__(
        self,
        losses: int = 1,
        code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
        reason: str = "",
    ):
        """Be lost with this status, or say it with a reason."""
        self._losses = losses
        self._code = code
        self._reason = reason
        self.asked: list[Any] = []
        self.run_id_seen = threading.Event()
        """Set by a test whose caller has to know the run id before it is lost."""
        self.run_id_seen.set()

    def methods(self) -> dict[str, Callable[..., Any]]:
        """All of its methods."""
        unary, stream = self._answer, self._events
        return {"Invoke": unary, "Wait": unary, "InvokeStream": stream, "Watch": stream}

    def _begin(self, request: Any, context: grpc.ServicerContext) -> None:
        # A channel still repeats a call whose metadata and status come at the same instant.
        is_repeat = any(key == _REPEAT for key, _ in context.invocation_metadata())
        if not is_repeat:
            self.asked.append(request)
        context.send_initial_metadata((("dag-run-id", "grpc-1"),))

    def _lose(self, context: grpc.ServicerContext) -> None:
        if len(self.asked) > self._losses:
            return
        if self._reason:
            status = Status(code=self._code.value[0], message="Socket closed")
            status.details.add().Pack(ErrorInfo(domain=DOMAIN, reason=self._reason))
            context.set_trailing_metadata(
                (("grpc-status-details-bin", status.SerializeToString()),)
            )
        context.abort(self._code, "Socket closed")

    def _answer(self, request: Any, context: grpc.ServicerContext) -> pb.InvokeResponse:
        self._begin(request, context)
        assert self.run_id_seen.wait(10)
        self._lose(context)
        return ANSWER

    def _events(
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[pb.InvokeStreamResponse]:
        self._begin(request, context)
        again = isinstance(request, pb.WaitRequest)
        now = Timestamp(seconds=1)
        accepted = pb.Accepted(run=RUN, attached=again)
        yield pb.InvokeStreamResponse(event_time=now, accepted=accepted)
        self._lose(context)
        yield pb.InvokeStreamResponse(event_time=now, result=ANSWER)


class BehindProxy(Gateway):
    """A gateway before which a proxy answers by itself for a while, as gRPC tells it."""

    def _begin(self, request: Any, context: grpc.ServicerContext) -> None:
        # A channel still repeats a call whose metadata and status come at the same instant.
        if not any(key == _REPEAT for key, _ in context.invocation_metadata()):
            self.asked.append(request)
        if len(self.asked) <= self._losses:
            context.send_initial_metadata((("server", "proxy"),))
            context.abort(self._code, "Received http2 header with status: 502")
        context.send_initial_metadata((("dag-run-id", "grpc-1"),))

    def _lose(self, context: grpc.ServicerContext) -> None:
        pass


Ask = Callable[..., Awaitable[Any]]
OnRun = Callable[[str], object]
OPTIONS: dict[str, Any] = {
    "result_task_ids": ["predict"],
    "on_deadline": "cancel",
    "on_disconnect": "keep",
}


async def call(
    target: str, timeout: float = 30, on_run: OnRun | None = None, **options: Any
) -> Any:
    """Ask the blocking client."""
    with DagInferenceClient(target, **options) as client:
        return await asyncio.to_thread(
            client.call, "iris", {"n": 1}, timeout=timeout, on_run=on_run, **OPTIONS
        )


async def call_aio(
    target: str, timeout: float = 30, on_run: OnRun | None = None, **options: Any
) -> Any:
    """Ask the asyncio client."""
    async with AsyncDagInferenceClient(target, **options) as client:
        return await client.call("iris", {"n": 1}, timeout=timeout, on_run=on_run, **OPTIONS)


async def stream(
    target: str, timeout: float = 30, on_run: OnRun | None = None, **options: Any
) -> Any:
    """Ask the blocking client for a stream, and take what its end holds."""
    with DagInferenceClient(target, **options) as client:
        events = client.stream("iris", {"n": 1}, timeout=timeout, **OPTIONS)
        return _told(await asyncio.to_thread(list, events))


async def stream_aio(
    target: str, timeout: float = 30, on_run: OnRun | None = None, **options: Any
) -> Any:
    """Ask the asyncio client for a stream, and take what its end holds."""
    async with AsyncDagInferenceClient(target, **options) as client:
        events = client.stream("iris", {"n": 1}, timeout=timeout, **OPTIONS)
        return _told([event async for event in events])


def _told(events: list[Any]) -> Any:
    *begins, last = events
    assert [type(event) for event in begins] == [Accepted] * len(begins)
    assert [event.attached for event in begins] == [False] + [True] * (len(begins) - 1)
    assert isinstance(last, Completed)
    return last.result


every_way = pytest.mark.parametrize("ask", [call, call_aio, stream, stream_aio])


@every_way
@pytest.mark.parametrize("losses", [1, LOSSES])
async def test_it_comes_back_to_its_run(serve: Serve, ask: Ask, losses: int) -> None:
    """With the options of the call."""
    gateway = Gateway(losses)

    result = await ask(serve(**gateway.methods()))

    assert result.run.run_id == "grpc-1"
    first, *others = gateway.asked
    assert isinstance(first, pb.InvokeRequest)
    assert others == losses * [
        pb.WaitRequest(
            dag_id="iris",
            run_id="grpc-1",
            result_task_ids=["predict"],
            on_deadline=pb.ON_DEADLINE_CANCEL,
            on_disconnect=pb.ON_DISCONNECT_KEEP,
            result_format=pb.RESULT_FORMAT_JSON,
        )
    ]


@every_way
async def test_it_is_not_thrown_about_for_ever(serve: Serve, ask: Ask) -> None:
    """After so many gateways were lost, the caller is told, with the run."""
    gateway = Gateway(losses=100)
    with pytest.raises(DagInferenceError) as caught:
        await ask(serve(**gateway.methods()))
    assert len(gateway.asked) == 1 + LOSSES
    assert (caught.value.code, caught.value.run_id) == (grpc.StatusCode.UNAVAILABLE, "grpc-1")


@every_way
async def test_it_can_be_turned_off(serve: Serve, ask: Ask) -> None:
    """Then the caller is told at once, with the run, and can come back by hand."""
    gateway = Gateway()
    with pytest.raises(DagInferenceError) as caught:
        await ask(serve(**gateway.methods()), reattach=False)
    assert len(gateway.asked) == 1
    assert (caught.value.code, caught.value.run_id) == (grpc.StatusCode.UNAVAILABLE, "grpc-1")


@every_way
@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED])
async def test_it_comes_back_when_a_proxy_has_lost_the_gateway(
    serve: Serve, ask: Ask, code: grpc.StatusCode
) -> None:
    """Which ends the call with a status that no gateway has given a reason for."""
    gateway = Gateway(code=code)
    if ask in {call, call_aio}:
        # What comes with the status, in the same instant, reaches nobody.
        gateway.run_id_seen.clear()
    result = await ask(serve(**gateway.methods()), on_run=lambda _: gateway.run_id_seen.set())
    assert result.run.run_id == "grpc-1"
    assert len(gateway.asked) == 2


@every_way
async def test_it_asks_again_when_a_proxy_has_answered_for_the_gateway(
    serve: Serve, ask: Ask
) -> None:
    """In HTTP, without a run id: the same request, whose `request_id` finds the run if any."""
    gateway = BehindProxy(losses=2)
    assert (await ask(serve(**gateway.methods()))).run.run_id == "grpc-1"
    assert len(gateway.asked) == 3
    assert {request.request_id for request in gateway.asked} == {gateway.asked[0].request_id}
    assert gateway.asked[0].request_id


class LostBehindProxy(Gateway):
    """A gateway that is lost, and for which a proxy answers when the call comes back."""

    def _begin(self, request: Any, context: grpc.ServicerContext) -> None:
        if not any(key == _REPEAT for key, _ in context.invocation_metadata()):
            self.asked.append(request)
        if len(self.asked) == 1 + self._losses:
            context.send_initial_metadata((("server", "proxy"),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "Received http2 header with status: 503")
        context.send_initial_metadata((("dag-run-id", "grpc-1"),))


@every_way
async def test_it_asks_for_its_run_again_when_a_proxy_has_answered(serve: Serve, ask: Ask) -> None:
    """What it has come back to is what it goes on asking for, by the method that knows it."""
    gateway = LostBehindProxy()
    runs: list[str] = []
    result = await ask(serve(**gateway.methods()), on_run=runs.append)
    assert result.run.run_id == "grpc-1"
    _, *others = gateway.asked
    assert [type(request) for request in others] == 2 * [pb.WaitRequest]
    assert {(request.dag_id, request.run_id) for request in others} == {("iris", "grpc-1")}
    assert runs == (["grpc-1"] if ask in {call, call_aio} else [])


@every_way
async def test_it_does_not_ask_a_proxy_for_ever(serve: Serve, ask: Ask) -> None:
    """After some times the error is the answer."""
    gateway = BehindProxy(losses=1000)
    with pytest.raises(DagInferenceError, match="status: 502"):
        await ask(serve(**gateway.methods()))
    assert len(gateway.asked) == 1 + LOSSES


@every_way
@pytest.mark.parametrize(
    ("code", "reason"),
    [(grpc.StatusCode.ABORTED, ""), (grpc.StatusCode.INTERNAL, "GATEWAY_BUG")],
    ids=["ABORTED", "GATEWAY_BUG"],
)
async def test_other_errors_are_the_answer(
    serve: Serve, ask: Ask, code: grpc.StatusCode, reason: str
) -> None:
    """A run that failed is not asked for again."""
    gateway = Gateway(code=code, reason=reason)
    with pytest.raises(DagInferenceError) as caught:
        await ask(serve(**gateway.methods()))
    assert len(gateway.asked) == 1
    assert (caught.value.code, caught.value.reason) == (code, reason)


@every_way
async def test_the_deadline_holds_for_all_of_it(serve: Serve, ask: Ask) -> None:
    """A run that nobody answers for any more is DEADLINE_EXCEEDED when the call's time is up."""
    left: list[float] = []

    def lose(request: object, context: grpc.ServicerContext) -> Iterator[Any]:
        context.send_initial_metadata((("dag-run-id", "grpc-1"),))
        while context.time_remaining() > HALF:
            Event().wait(0.01)
        yield pb.InvokeStreamResponse(accepted=pb.Accepted(run=RUN))
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    def hang(request: object, context: grpc.ServicerContext) -> Iterator[Any]:
        left.append(context.time_remaining())
        gone = Event()
        context.add_callback(gone.set)
        gone.wait(5)
        yield from ()

    target = serve(InvokeStream=lose, Watch=hang, Invoke=_unary(lose), Wait=_unary(hang))
    with pytest.raises(DeadlineExceeded) as caught:
        await ask(target, timeout=2 * HALF)

    assert caught.value.run_id == "grpc-1"
    assert left
    assert all(seconds <= HALF for seconds in left)


def _unary(stream: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
    """A method that does as a stream does, and answers nothing."""
    return lambda request, context: list(stream(request, context))


@pytest.mark.parametrize("client_kind", ["blocking", "asyncio"])
async def test_the_run_is_announced_once(serve: Serve, client_kind: str) -> None:
    """`on_run` is called once, however often the call comes back."""
    target = serve(**Gateway(losses=2).methods())
    runs: list[str] = []
    if client_kind == "blocking":
        with DagInferenceClient(target) as client:
            await asyncio.to_thread(client.call, "iris", on_run=runs.append, timeout=30)
    else:
        async with AsyncDagInferenceClient(target) as aio:
            await aio.call("iris", on_run=runs.append, timeout=30)
    assert runs == ["grpc-1"]


def test_what_the_caller_raises_is_the_callers(serve: Serve) -> None:
    """An error out of `on_run` is no lost gateway, whatever it says."""
    gateway = Gateway(losses=0)

    def fail(_: str) -> None:
        raise AirflowUnavailable("of the caller's own")

    with (
        DagInferenceClient(serve(**gateway.methods())) as client,
        pytest.raises(AirflowUnavailable, match="of the caller's own"),
    ):
        client.call("iris", on_run=fail, timeout=30)
    assert len(gateway.asked) == 1


class Silent(Gateway):
    """A gateway that says the run id and nothing more until its callers are gone."""

    def _lose(self, context: grpc.ServicerContext) -> None:
        gone = threading.Event()
        context.add_callback(gone.set)
        assert gone.wait(10)


@pytest.mark.parametrize("way", ["call", "stream"])
async def test_closing_gives_up_what_is_in_flight(serve: Serve, way: str) -> None:
    """With an error of the table, and without coming back: the channel is no more."""
    gateway = Silent()
    client = DagInferenceClient(serve(**gateway.methods()))
    has_begun = threading.Event()

    def ask() -> None:
        if way == "call":
            client.call("iris", on_run=lambda _: has_begun.set(), timeout=30)
        for _ in client.stream("iris", timeout=30):
            has_begun.set()

    asking = asyncio.create_task(asyncio.to_thread(ask))
    assert await asyncio.to_thread(has_begun.wait, 10)
    client.close()

    with pytest.raises(DagInferenceError) as caught:
        await asking
    assert caught.value.code is grpc.StatusCode.CANCELLED
    assert len(gateway.asked) == 1


@pytest.mark.parametrize("way", ["call", "stream"])
async def test_closing_cancels_no_task(serve: Serve, way: str) -> None:
    """With asyncio, it is the same error, and not as if the caller had given up."""
    gateway = Silent()
    client = AsyncDagInferenceClient(serve(**gateway.methods()))
    has_begun = asyncio.Event()

    async def ask() -> None:
        if way == "call":
            await client.call("iris", on_run=lambda _: has_begun.set(), timeout=30)
        async for _ in client.stream("iris", timeout=30):
            has_begun.set()

    asking = asyncio.create_task(ask())
    await asyncio.wait_for(has_begun.wait(), 10)
    await client.close()

    with pytest.raises(DagInferenceError) as caught:
        await asking
    assert caught.value.code is grpc.StatusCode.CANCELLED
    assert len(gateway.asked) == 1
