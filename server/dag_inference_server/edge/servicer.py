"""The service `dag_inference.v1.DagInference`: thin, over the core."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as pb_grpc

from dag_inference_server.edge.requests import Limits, read_invoke
from dag_inference_server.edge.responses import Responses
from dag_inference_server.edge.status import errors_as_status
from dag_inference_server.edge.stream import EventStream
from dag_inference_server.invocation.call import Accepted
from dag_inference_server.invocation.invocation import Invocations
from dag_inference_server.watcher import Snapshot

log = structlog.get_logger(__name__)

RUN_ID_KEY = "dag-run-id"
"""Initial metadata: the run id, as soon as the run exists."""


class DagInferenceServicer(pb_grpc.DagInferenceServicer):
    """Translates requests into calls, and what becomes of them into messages."""

    def __init__(
        self,
        invocations: Invocations,
        responses: Responses,
        limits: Limits,
        *,
        heartbeat_interval: float,
    ) -> None:
        """Serve `invocations`; streams are quiet for `heartbeat_interval` seconds at most."""
        self._invocations = invocations
        self._responses = responses
        self._limits = limits
        self._heartbeat_interval = heartbeat_interval

    async def Invoke(  # noqa: N802
        self,
        request: pb.InvokeRequest,
        context: grpc.aio.ServicerContext[pb.InvokeRequest, pb.InvokeResponse],
    ) -> pb.InvokeResponse:
        """Trigger a run and answer with its result."""
        async with errors_as_status(context):
            call = read_invoke(request, context.time_remaining(), self._limits)
            outcome = await self._invocations.invoke(call, _Quiet(context))
            response = self._responses.outcome(call, outcome)
            log.info("invoked", dag_id=call.dag_id, run_id=outcome.run.run_id)
            return response
        raise AssertionError("abort does not return")

    async def InvokeStream(  # noqa: N802
        self,
        request: pb.InvokeRequest,
        context: grpc.aio.ServicerContext[pb.InvokeRequest, pb.InvokeStreamResponse],
    ) -> AsyncIterator[pb.InvokeStreamResponse]:
        """Trigger a run and show every step until its result."""
        async with errors_as_status(context):
            call = read_invoke(request, context.time_remaining(), self._limits)
            stream = EventStream(
                self._responses,
                lambda run_id: context.send_initial_metadata(((RUN_ID_KEY, run_id),)),
                heartbeat_interval=self._heartbeat_interval,
            )
            async for event in stream.events(call, self._invocations.invoke(call, stream)):
                yield event
            log.info("streamed", dag_id=call.dag_id, run_id=stream.run_id)


class _Quiet:
    """The listener of a unary call: only the run id goes out early."""

    every_state = False

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context

    async def accepted(self, event: Accepted) -> None:
        await self._context.send_initial_metadata(((RUN_ID_KEY, event.run.run_id),))

    def changed(self, snapshot: Snapshot) -> None:
        pass
