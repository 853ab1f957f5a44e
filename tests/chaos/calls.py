"""Calls of every kind, and what became of each."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from integration.statuses import Failure

Request: TypeAlias = pb.InvokeRequest | pb.WaitRequest | pb.CancelRequest

ANSWERS: dict[str, Any] = {
    "Invoke": pb.InvokeResponse,
    "InvokeStream": pb.InvokeStreamResponse,
    "Wait": pb.InvokeResponse,
    "Watch": pb.InvokeStreamResponse,
    "Cancel": pb.CancelResponse,
}
"""What each method answers with."""


@dataclass(slots=True)
class Generation:
    """A gateway from its start until it is killed, and a channel to it."""

    channel: grpc.aio.Channel
    killed: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """One call, from its start to its end."""

    method: str
    request: Request
    patience: float
    """The deadline, in seconds."""
    at: Generation
    since: float
    rpc: Any
    until: float = 0.0
    left: bool = False
    """Whether the caller went away."""
    code: StatusCode | None = None
    run_id: str | None = None
    """As the initial metadata told, or the request."""
    answer: Any = None
    """The last message."""
    first: Any = None
    failure: Failure | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        """What its run is called in the run's conf; empty for calls that make none."""
        if not isinstance(self.request, pb.InvokeRequest):
            return ""
        return str(self.request.conf["call"])

    @property
    def result(self) -> pb.InvokeResponse | None:
        """The result, if that is what it was answered with."""
        if self.code is not StatusCode.OK or isinstance(self.answer, pb.CancelResponse):
            return None
        if isinstance(self.answer, pb.InvokeStreamResponse):
            return self.answer.result
        assert isinstance(self.answer, pb.InvokeResponse)
        return self.answer

    @property
    def value(self) -> Any:
        """What the result task returned, by the result."""
        assert self.result is not None
        found = MessageToDict(self.result.result)
        return found if self.result.result_kind == pb.RESULT_KIND_OBJECT else found["return_value"]

    @property
    def wants_end(self) -> bool:
        """Whether it may end its run."""
        if isinstance(self.request, pb.CancelRequest):
            return True
        wanted = (self.request.on_deadline, self.request.on_disconnect)
        return wanted != (pb.ON_DEADLINE_UNSPECIFIED, pb.ON_DISCONNECT_UNSPECIFIED)

    def leave(self) -> None:
        """Go away."""
        self.left = True
        self.rpc.cancel()

    async def follow(self) -> None:
        """Take in what comes until it has ended."""
        with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            async for message in self.rpc:
                self.first = self.first or message
                self.answer = message
        self.code = await self.rpc.code()
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            told = dict(await self.rpc.initial_metadata() or ())
            self.run_id = told.get("dag-run-id", self.run_id)
        if self.code is not StatusCode.OK:
            trailers = dict(await self.rpc.trailing_metadata() or ())
            self.failure = Failure(self.code, await self.rpc.details() or "", trailers)
        self.until = asyncio.get_running_loop().time()
        self.ended.set()

    def __str__(self) -> str:
        """What was asked and told, for whoever reads why a test fails."""
        options = str(self.request).replace("\n", " ")
        told = self.failure.message if self.failure else str(self.answer).replace("\n", " ")
        reason = self.failure.reason if self.failure else ""
        return (
            f"{self.method}({options}) within {self.patience} s, {self.since:.3f} to "
            f"{self.until:.3f}, run {self.run_id}: {self.code} {reason} {told}"
        )


def start(method: str, request: Request, patience: float, at: Generation) -> Call:
    """Make a call. Each is opened as a stream, which tells of its run at once."""
    rpc = at.channel.unary_stream(
        f"/dag_inference.v1.DagInference/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=ANSWERS[method].FromString,
    )(request, timeout=patience)
    now = asyncio.get_running_loop().time()
    known = None if isinstance(request, pb.InvokeRequest) else request.run_id
    return Call(method, request, patience, at, now, rpc, run_id=known)
