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
from dag_inference_server.inference import open_inference_pb2 as inference
from integration.inference import values
from integration.statuses import Failure

Request: TypeAlias = (
    pb.InvokeRequest | pb.WaitRequest | pb.CancelRequest | inference.ModelInferRequest
)

_OURS, _OPEN = "dag_inference.v1.DagInference", "inference.GRPCInferenceService"

METHODS: dict[str, tuple[str, Any]] = {
    "Invoke": (_OURS, pb.InvokeResponse),
    "InvokeStream": (_OURS, pb.InvokeStreamResponse),
    "ModelInfer": (_OPEN, inference.ModelInferResponse),
    "Wait": (_OURS, pb.InvokeResponse),
    "Watch": (_OURS, pb.InvokeStreamResponse),
    "Cancel": (_OURS, pb.CancelResponse),
}
"""Where each method is, and what it answers with."""


@dataclass(slots=True)
class Generation:
    """A gateway from its start until it goes, and a channel to it."""

    channel: grpc.aio.Channel
    gone: float | None = None
    """When it was killed, or told to end."""
    is_killed: bool = False


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
    until: float = float("inf")
    left: bool = False
    """Whether the caller went away."""
    code: StatusCode | None = None
    run_id: str | None = None
    """As the initial metadata told, or the request."""
    told: float | None = None
    """When the initial metadata told it, if it did."""
    answer: Any = None
    """The last message."""
    first: Any = None
    failure: Failure | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        """What its run is called in the run's conf; empty for calls that make none."""
        match self.request:
            case pb.InvokeRequest(conf=conf):
                return str(conf["call"])
            case inference.ModelInferRequest(parameters=parameters):
                return parameters["call"].string_param
        return ""

    @property
    def result(self) -> tuple[str, Any] | None:
        """The run and what its result task returned, if that is what it was answered with."""
        if self.code is not StatusCode.OK or isinstance(self.answer, pb.CancelResponse):
            return None
        if isinstance(self.answer, inference.ModelInferResponse):
            found, run_id = values(self.answer), self.answer.parameters["dag_run_id"].string_param
            return run_id, found.get("return_value", found)
        result = self.answer
        if isinstance(result, pb.InvokeStreamResponse):
            result = result.result
        assert isinstance(result, pb.InvokeResponse)
        found = MessageToDict(result.result)
        is_object = result.result_kind == pb.RESULT_KIND_OBJECT
        return result.run.run_id, found if is_object else found["return_value"]

    @property
    def ends_at_deadline(self) -> bool:
        """Whether its run is to be ended when its deadline passes."""
        return getattr(self.request, "on_deadline", None) == pb.ON_DEADLINE_CANCEL

    @property
    def ends_on_leaving(self) -> bool:
        """Whether its run is to be ended when its caller goes away."""
        return getattr(self.request, "on_disconnect", None) == pb.ON_DISCONNECT_CANCEL

    @property
    def was_attached(self) -> bool:
        """Whether it made no run, although it could have, because an earlier call had."""
        is_stream = isinstance(self.first, pb.InvokeStreamResponse)
        return bool(self.name) and is_stream and self.first.accepted.attached

    def leave(self) -> None:
        """Go away, unless it has just ended."""
        self.left = self.rpc.cancel()

    async def follow(self) -> None:
        """Take in what comes until it has ended."""
        now = asyncio.get_running_loop().time
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            told = dict(await self.rpc.initial_metadata() or ())
            if "dag-run-id" in told:
                self.run_id, self.told = told["dag-run-id"], now()
        with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            async for message in self.rpc:
                self.first = self.first or message
                self.answer = message
        self.code = await self.rpc.code()
        if self.code is not StatusCode.OK:
            trailers = dict(await self.rpc.trailing_metadata() or ())
            self.failure = Failure(self.code, await self.rpc.details() or "", trailers)
        self.until = now()
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
    service, answer = METHODS[method]
    rpc = at.channel.unary_stream(
        f"/{service}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=answer.FromString,
    )(request, timeout=patience)
    now = asyncio.get_running_loop().time()
    return Call(method, request, patience, at, now, rpc, run_id=getattr(request, "run_id", None))


def as_inference(request: pb.InvokeRequest) -> inference.ModelInferRequest:
    """The same call, of the same run, in the Open Inference Protocol."""
    asked = inference.ModelInferRequest(model_name=request.dag_id)
    asked.parameters["call"].string_param = str(request.conf["call"])
    if request.request_id:
        asked.parameters["request_id"].string_param = request.request_id
    return asked
