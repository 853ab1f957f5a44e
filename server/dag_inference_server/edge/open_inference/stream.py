"""A stream of requests: side by side, each answered when its own result is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from dag_inference.errors import DagInferenceError, ShuttingDown
from dag_inference_server.edge.deadline import Deadline
from dag_inference_server.edge.open_inference.in_words import in_words
from dag_inference_server.edge.open_inference.responses import RUN_ID
from dag_inference_server.edge.rpc import Rpc, logged
from dag_inference_server.edge.status import shortened
from dag_inference_server.edge.wire import Answer
from dag_inference_server.inference import open_inference_pb2 as pb
from dag_inference_server.invocation.admission import RETRY_AFTER
from dag_inference_server.invocation.call import Accepted, Listener, Timing
from dag_inference_server.together import abandon
from dag_inference_server.watcher import Snapshot

_AT_ONCE = 100
"""Requests of one stream that are under way or answered and not yet read. More are read from the
wire when there is room, so that a slow reader costs no more memory than that."""

_MAX_TEXT = 2000
"""Of a parameter that tells of an error, in bytes."""

_METHOD = "ModelStreamInfer"
_FINAL = "triton_final_response"

Infer: TypeAlias = Callable[
    [pb.ModelInferRequest, Rpc, Listener], Awaitable[Answer[pb.ModelInferResponse]]
]


class _Logs:
    """The listener of one request: only the log learns of what is on the way."""

    every_state = False

    def __init__(self, told: Rpc) -> None:
        self._told = told

    async def accepted(self, event: Accepted) -> None:
        self._told.accepted(event.run.run_id)

    def changed(self, snapshot: Snapshot) -> None:
        pass

    def failed(self, timing: Timing) -> None:
        self._told.timed(timing)


class InferStream:
    """The calls of one stream."""

    def __init__(self, infer: Infer, closing: asyncio.Event, deadline: Deadline) -> None:
        """Prepare.

        Args:
            infer: Serves one request.
            closing: Is set when the gateway goes away.
            deadline: The caller's, of all requests.
        """
        self._deadline = deadline
        self._infer = infer
        self._closing = closing
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._answers: asyncio.Queue[pb.ModelStreamInferResponse | None] = asyncio.Queue()

    async def answers(
        self, requests: AsyncIterator[pb.ModelInferRequest]
    ) -> AsyncGenerator[pb.ModelStreamInferResponse]:
        """Serve requests until there are no more, and yield an answer for each.

        Raises:
            ShuttingDown: The gateway goes away; what was under way is answered.
            RequestInvalid: A request could not be read, nor anything after it.
        """
        serving = asyncio.create_task(self._serve(requests))
        serving.add_done_callback(lambda _: self._answers.put_nowait(None))
        try:
            while (answer := await self._answers.get()) is not None:
                yield answer
                self._room.release()
            await serving
        finally:
            # Nothing of the calls outlives their RPC.
            await abandon(serving)

    async def _serve(self, requests: AsyncIterator[pb.ModelInferRequest]) -> None:
        """Serve all requests, and end when the last of them is served."""
        async with asyncio.TaskGroup() as calls:
            closing = asyncio.create_task(self._closing.wait())
            try:
                is_open = await self._take_in(requests, calls, closing)
            except DagInferenceError as error:
                # Those under way are answered all the same.
                failure: DagInferenceError | None = error
            else:
                failure = None if is_open else _going_away()
            finally:
                closing.cancel()
        if failure is not None:
            raise failure

    async def _take_in(
        self,
        requests: AsyncIterator[pb.ModelInferRequest],
        calls: asyncio.TaskGroup,
        closing: asyncio.Task[object],
    ) -> bool:
        """Start a call for each request; whether it is the caller that has ended it."""
        while True:
            await self._room.acquire()
            arriving = asyncio.ensure_future(anext(requests, None))
            try:
                await asyncio.wait((arriving, closing), return_when=asyncio.FIRST_COMPLETED)
                if not arriving.done():
                    return False
                request = arriving.result()
            finally:
                arriving.cancel()
            if request is None:
                return True
            calls.create_task(self._call(request))

    async def _call(self, request: pb.ModelInferRequest) -> None:
        try:
            with logged(_METHOD, self._deadline) as told:
                answer = await self._infer(request, told, _Logs(told))
        except DagInferenceError as error:
            self._answers.put_nowait(_failed(request, error))
            return
        answer.message.parameters[_FINAL].bool_param = True
        self._answers.put_nowait(answer.within(pb.ModelStreamInferResponse(), "infer_response"))


def _failed(request: pb.ModelInferRequest, error: DagInferenceError) -> pb.ModelStreamInferResponse:
    """An error as an answer: as text for most clients, which see no more, and as parameters."""
    answer = pb.ModelStreamInferResponse(error_message=in_words(error, request.id))
    response = answer.infer_response
    response.id, response.model_name = request.id, request.model_name
    told = {"code": error.code.name, "reason": error.reason, **error.subject.to_metadata()}
    if error.run_id:
        told[RUN_ID] = error.run_id
    for key, text in told.items():
        response.parameters[key].string_param = shortened(text, _MAX_TEXT)
    response.parameters[_FINAL].bool_param = True
    return answer


def _going_away() -> ShuttingDown:
    return ShuttingDown("the gateway is going away", retry_after=RETRY_AFTER)
