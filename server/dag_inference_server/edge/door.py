"""Calls of a full gateway are refused at the door: nothing of them is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
import structlog

from dag_inference.errors import Overloaded
from dag_inference_server.edge.health import SERVICES
from dag_inference_server.edge.status import End, end, end_of

log = structlog.get_logger(__name__)

_CONTRACT, _PROTOCOL = SERVICES

_PATHS = frozenset(
    {f"/{_CONTRACT}/Invoke", f"/{_CONTRACT}/InvokeStream", f"/{_PROTOCOL}/ModelInfer"}
)
"""What makes one run. A stream of requests makes many, and each of them is refused by itself."""

_TELL_EVERY = 10.0
"""Seconds. A line for each refusal would be most of what it costs."""


class Door(grpc.aio.ServerInterceptor):
    """Answers calls with `OVERLOADED` while there is no place for any, whatever they ask for.

    What a gateway spends on refusals it does not have for the calls that it took.
    """

    def __init__(self, turn_away: Callable[[], Overloaded | None]) -> None:
        """Refuse with what `turn_away` gives, for each call that it gives something for."""
        self._turn_away = turn_away
        self._refusals: dict[tuple[str, timedelta | None], Any] = {}
        """By what they say, which is little: a limit is always met by as many calls."""
        self._untold = 0
        self._next: asyncio.TimerHandle | None = None

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Let the call in, or put somebody at its place who refuses it."""
        if handler_call_details.method not in _PATHS or (error := self._turn_away()) is None:
            return await continuation(handler_call_details)
        self._tell(error)
        said = error.message, error.retry_after
        refusal = self._refusals.get(said)
        if refusal is None:
            refusal = self._refusals[said] = _refusing(end_of(error))
        return refusal

    def _tell(self, error: Overloaded) -> None:
        """Tell the log of it, at once or with those that come within some seconds."""
        self._untold += 1
        if self._next is None:
            self._tell_all(error.message)

    def _tell_all(self, why: str) -> None:
        self._next = None
        if self._untold:
            log.warning("calls_refused", calls=self._untold, why=why)
            self._untold = 0
            loop = asyncio.get_running_loop()
            self._next = loop.call_later(_TELL_EVERY, self._tell_all, why)


def _refusing(how: End) -> Any:
    async def refuse(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await end(context, how)
        return
        # What makes a generator of it.
        yield b""

    # For the wire all kinds are the same, and this one does not wait for its requests.
    return grpc.stream_stream_rpc_method_handler(refuse)
