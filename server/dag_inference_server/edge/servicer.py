"""The service `dag_inference.v1.DagInference`: thin, over the core."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import grpc

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as pb_grpc
from dag_inference_server.catalog.catalog import Catalog
from dag_inference_server.catalog.listing import DagListing
from dag_inference_server.edge.accepting import Quiet, accept
from dag_inference_server.edge.dags import described, listed, read_list
from dag_inference_server.edge.deadline import countdown, seconds_left
from dag_inference_server.edge.requests import (
    Limits,
    read_cancel,
    read_describe,
    read_invoke,
    read_wait,
    within,
)
from dag_inference_server.edge.responses import Responses
from dag_inference_server.edge.rpc import Rpc, Rpcs
from dag_inference_server.edge.stream import EventStream
from dag_inference_server.edge.wire import Answer
from dag_inference_server.invocation.call import Outcome, Translate, Wanted
from dag_inference_server.invocation.invocation import Invocations


class DagInferenceServicer(pb_grpc.DagInferenceServicer):
    """Translates requests into calls, and what becomes of them into messages."""

    def __init__(
        self,
        invocations: Invocations,
        catalog: Catalog,
        listing: DagListing,
        responses: Responses,
        limits: Limits,
        *,
        rpcs: Rpcs,
        heartbeat_interval: float,
    ) -> None:
        """Serve `invocations`; streams are quiet for `heartbeat_interval` seconds at most."""
        self._invocations = invocations
        self._catalog = catalog
        self._listing = listing
        self._responses = responses
        self._limits = limits
        self._rpcs = rpcs
        self._heartbeat_interval = heartbeat_interval

    async def Invoke(  # noqa: N802
        self,
        request: pb.InvokeRequest,
        context: grpc.aio.ServicerContext[pb.InvokeRequest, pb.InvokeResponse],
    ) -> pb.InvokeResponse:
        """Trigger a run and answer with its result."""
        async with self._rpcs.serve("Invoke", context) as told:
            told.concerns(request.dag_id, request_id=request.request_id)
            call = await read_invoke(request, countdown(context), self._limits)
            quiet, translate = Quiet(context, told), self._translating(call, told)
            return (await self._invocations.invoke(call, quiet, translate)).whole()

    async def Wait(  # noqa: N802
        self,
        request: pb.WaitRequest,
        context: grpc.aio.ServicerContext[pb.WaitRequest, pb.InvokeResponse],
    ) -> pb.InvokeResponse:
        """Answer with the result of a run that exists."""
        async with self._rpcs.serve("Wait", context) as told:
            told.concerns(request.dag_id, request.run_id)
            attachment = read_wait(request, countdown(context), self._limits)
            quiet, translate = Quiet(context, told), self._translating(attachment, told)
            return (await self._invocations.wait(attachment, quiet, translate)).whole()

    async def InvokeStream(  # noqa: N802
        self,
        request: pb.InvokeRequest,
        context: grpc.aio.ServicerContext[pb.InvokeRequest, pb.InvokeStreamResponse],
    ) -> AsyncIterator[pb.InvokeStreamResponse]:
        """Trigger a run and show every step until its result."""
        async with self._rpcs.serve("InvokeStream", context) as told:
            told.concerns(request.dag_id, request_id=request.request_id)
            call = await read_invoke(request, countdown(context), self._limits)
            stream, translate = self._stream(context, told), self._translating(call, told)
            work = self._invocations.invoke(call, stream, translate)
            async with aclosing(stream.events(work)) as events:
                async for event in events:
                    with told.sending():
                        yield event

    async def Watch(  # noqa: N802
        self,
        request: pb.WaitRequest,
        context: grpc.aio.ServicerContext[pb.WaitRequest, pb.InvokeStreamResponse],
    ) -> AsyncIterator[pb.InvokeStreamResponse]:
        """Show where a run that exists stands, and every step from there on."""
        async with self._rpcs.serve("Watch", context) as told:
            told.concerns(request.dag_id, request.run_id)
            attachment = read_wait(request, countdown(context), self._limits)
            stream, translate = self._stream(context, told), self._translating(attachment, told)
            work = self._invocations.wait(attachment, stream, translate)
            async with aclosing(stream.events(work)) as events:
                async for event in events:
                    with told.sending():
                        yield event

    async def Cancel(  # noqa: N802
        self,
        request: pb.CancelRequest,
        context: grpc.aio.ServicerContext[pb.CancelRequest, pb.CancelResponse],
    ) -> pb.CancelResponse:
        """End a run."""
        async with self._rpcs.serve("Cancel", context) as told:
            told.concerns(request.dag_id, request.run_id)
            cancellation = read_cancel(request, countdown(context), self._limits)
            run = await self._invocations.cancel(cancellation)
            return pb.CancelResponse(run=self._responses.run(run))

    async def ListDags(  # noqa: N802
        self,
        request: pb.ListDagsRequest,
        context: grpc.aio.ServicerContext[pb.ListDagsRequest, pb.ListDagsResponse],
    ) -> pb.ListDagsResponse:
        """List the DAGs that are served."""
        async with (
            self._rpcs.serve("ListDags", context),
            within(seconds_left(context), self._limits),
        ):
            wish = read_list(request)
            return listed(*await self._listing.page(wish.size, wish.tags, wish.place), wish.tags)

    async def DescribeDag(  # noqa: N802
        self,
        request: pb.DescribeDagRequest,
        context: grpc.aio.ServicerContext[pb.DescribeDagRequest, pb.DescribeDagResponse],
    ) -> pb.DescribeDagResponse:
        """Say how one DAG is called."""
        limited = within(seconds_left(context), self._limits)
        async with self._rpcs.serve("DescribeDag", context) as told, limited:
            told.concerns(request.dag_id)
            return described(
                await self._catalog.describe(read_describe(request)), self._responses.max_bytes
            )

    def _translating(self, wanted: Wanted, told: Rpc) -> Translate[Answer[pb.InvokeResponse]]:
        async def translate(outcome: Outcome) -> Answer[pb.InvokeResponse]:
            start = time.monotonic()
            answer = await self._responses.outcome(wanted, outcome)
            told.timed(outcome.timing, timedelta(seconds=time.monotonic() - start))
            return answer

        return translate

    def _stream(self, context: grpc.aio.ServicerContext[Any, Any], told: Rpc) -> EventStream:
        return EventStream(
            self._responses,
            lambda run_id: accept(context, told, run_id),
            told.timed,
            heartbeat_interval=self._heartbeat_interval,
        )
