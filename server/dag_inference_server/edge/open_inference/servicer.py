"""The service `inference.GRPCInferenceService`: thin, over the core."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any, TypeAlias

import grpc

from dag_inference.errors import AirflowDenied, AirflowUnavailable, DagNotAllowed, DagNotFound
from dag_inference_server.catalog.catalog import Catalog
from dag_inference_server.edge.accepting import Quiet
from dag_inference_server.edge.deadline import Deadline, countdown, seconds_left
from dag_inference_server.edge.health import Health
from dag_inference_server.edge.open_inference.fitting import is_latest
from dag_inference_server.edge.open_inference.in_words import telling_all
from dag_inference_server.edge.open_inference.models import (
    model_metadata,
    read_metadata,
    server_metadata,
)
from dag_inference_server.edge.open_inference.requests import read_infer, request_id
from dag_inference_server.edge.open_inference.responses import InferResponses
from dag_inference_server.edge.open_inference.stream import InferStream
from dag_inference_server.edge.requests import Limits, TimeRemaining, within
from dag_inference_server.edge.rpc import Rpc, Rpcs
from dag_inference_server.edge.wire import Answer
from dag_inference_server.inference import open_inference_pb2 as pb
from dag_inference_server.inference import open_inference_pb2_grpc as pb_grpc
from dag_inference_server.invocation.call import Listener, Outcome
from dag_inference_server.invocation.invocation import Invocations

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class OpenInferenceServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Translates requests into calls, and what becomes of them into messages."""

    def __init__(
        self,
        invocations: Invocations,
        catalog: Catalog,
        health: Health,
        responses: InferResponses,
        limits: Limits,
        *,
        rpcs: Rpcs,
    ) -> None:
        """Serve `invocations`; `health` knows what is ready."""
        self._invocations = invocations
        self._catalog = catalog
        self._health = health
        self._responses = responses
        self._limits = limits
        self._rpcs = rpcs

    async def ServerLive(  # noqa: N802
        self, request: pb.ServerLiveRequest, context: _Context
    ) -> pb.ServerLiveResponse:
        """Say that the process lives."""
        async with self._rpcs.serve("ServerLive", context):
            return pb.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, request: pb.ServerReadyRequest, context: _Context
    ) -> pb.ServerReadyResponse:
        """Say whether calls are served."""
        async with self._rpcs.serve("ServerReady", context):
            return pb.ServerReadyResponse(ready=self._health.is_serving)

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: _Context
    ) -> pb.ServerMetadataResponse:
        """Say what this server is."""
        async with self._rpcs.serve("ServerMetadata", context):
            return server_metadata()

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, context: _Context
    ) -> pb.ModelReadyResponse:
        """Say whether a DAG can be called."""
        limited = within(seconds_left(context), self._limits)
        async with self._rpcs.serve("ModelReady", context) as told, limited:
            told.concerns(request.name)
            return pb.ModelReadyResponse(ready=await self._is_ready(request))

    async def _is_ready(self, request: pb.ModelReadyRequest) -> bool:
        if not await self._health.is_dag_ready(request.name):
            return False
        if not request.version:
            return True
        try:
            dag = await self._catalog.details(request.name)
        except (DagNotFound, DagNotAllowed, AirflowUnavailable, AirflowDenied):
            return False
        return is_latest(request.version, dag)

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: _Context
    ) -> pb.ModelMetadataResponse:
        """Say what a DAG takes and gives."""
        limited = within(seconds_left(context), self._limits)
        async with self._rpcs.serve("ModelMetadata", context) as told, limited:
            told.concerns(request.name)
            dag = await self._catalog.details(read_metadata(request))
            return model_metadata(dag, request.version)

    async def ModelInfer(  # noqa: N802
        self, request: pb.ModelInferRequest, context: _Context
    ) -> pb.ModelInferResponse:
        """Trigger a run and answer with its result."""
        async with self._rpcs.serve("ModelInfer", context) as told:
            listener = Quiet(context, told)
            with telling_all():
                answer = await self._infer(request, countdown(context), told, listener)
                return answer.whole()

    async def ModelStreamInfer(  # noqa: N802
        self, requests: AsyncIterator[pb.ModelInferRequest], context: _Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Trigger a run for each request, and answer with each result."""
        left = countdown(context)

        async def infer(
            request: pb.ModelInferRequest, told: Rpc, listener: Listener
        ) -> Answer[pb.ModelInferResponse]:
            return await self._infer(request, left, told, listener)

        async with self._rpcs.serve("ModelStreamInfer", context):
            with self._invocations.stream():
                deadline = Deadline(seconds_left(context))
                stream = InferStream(infer, self._rpcs.closing, deadline)
                async with aclosing(stream.answers(requests)) as answers:
                    async for answer in answers:
                        yield answer

    async def _infer(
        self,
        request: pb.ModelInferRequest,
        time_remaining: TimeRemaining,
        told: Rpc,
        listener: Listener,
    ) -> Answer[pb.ModelInferResponse]:
        told.concerns(request.model_name, request_id=request_id(request))
        call, inference = await read_infer(request, time_remaining, self._limits)

        async def translate(outcome: Outcome) -> Answer[pb.ModelInferResponse]:
            start = time.monotonic()
            answer = await self._responses.outcome(request.id, inference, outcome)
            told.timed(outcome.timing, timedelta(seconds=time.monotonic() - start))
            return answer

        return await self._invocations.invoke(call, listener, translate)
