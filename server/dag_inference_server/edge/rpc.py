"""One RPC from its arrival to its status, and the one line that the log has of it."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import grpc
import structlog

from dag_inference.errors import (
    AirflowUnavailable,
    DagInferenceError,
    DeadlineExceeded,
    GatewayBug,
    Overloaded,
    ShuttingDown,
    Subject,
)
from dag_inference_server.edge.deadline import Deadline, seconds_left
from dag_inference_server.edge.status import end, end_of, shortened
from dag_inference_server.invocation.admission import RETRY_AFTER
from dag_inference_server.invocation.call import Timing
from dag_inference_server.invocation.observer import DEADLINE_MISSED
from dag_inference_server.let_go import let_go

log = structlog.get_logger(__name__)

CALL_ID_KEY = "x-request-id"
"""The key of the caller's own name for its call: what proxies and Airflow's access log know."""

CALL_ID = "call_id"
"""Its name in the log, on every line of the call."""

AUDIENCE: ContextVar[Callable[[Mapping[str, str]], None]] = ContextVar(
    "audience", default=lambda _: None
)
"""Who else is told what the line in the log says of the DAG, the run and the error of an RPC."""

_MAX_NAME = 300
"""Of any name in the log, in bytes."""

_OURS = (AirflowUnavailable, Overloaded, ShuttingDown, GatewayBug, DeadlineExceeded)
"""Errors whose messages are for who is on call. Those of others may hold a caller's values, that of
`AirflowDenied` too: it quotes what refused a request, which may quote that."""

_MAX_WHY = 500
"""Of such a message, in bytes."""

_CALL_ID = re.compile(r"[!-~]{1,100}")


class Rpc:
    """What there is to tell of one RPC."""

    def __init__(self, method: str, deadline: Deadline) -> None:
        """Begin."""
        self._method = method
        self._deadline = deadline
        self._start = time.monotonic()
        self._about: dict[str, str] = {}
        self._stages: dict[str, float] = {}
        self._is_sending = False

    def concerns(self, dag_id: str, run_id: str | None = None, request_id: str = "") -> None:
        """Take in what the request names, however long that is."""
        named = {"dag_id": dag_id, "run_id": run_id, "request_id": request_id}
        self._about |= {key: shortened(name, _MAX_NAME) for key, name in named.items() if name}

    @property
    def subject(self) -> Subject:
        """What it is about, as far as it is known."""
        return Subject(self._about.get("dag_id"), self._about.get("run_id"))

    def accepted(self, run_id: str) -> None:
        """Take in that the run exists."""
        self._about["run_id"] = run_id

    def timed(self, timing: Timing, translation: timedelta | None = None) -> None:
        """Take in where the time of the call went, and of its answer's making if it has one."""
        stages = timing.stages(translation).items()
        self._stages = {stage: round(span.total_seconds(), 4) for stage, span in stages}

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send a part of the answer inside the block, which takes as long as its caller reads."""
        self._is_sending = True
        yield
        self._is_sending = False

    def ok(self) -> None:
        """It has its answer."""
        self._tell(grpc.StatusCode.OK, {})

    def failed(self, error: DagInferenceError) -> None:
        """It has an error."""
        subject = error.subject.to_metadata()
        told = {key: shortened(text, _MAX_NAME) for key, text in subject.items()}
        why = shortened(error.message, _MAX_WHY) if isinstance(error, _OURS) else ""
        self._tell(error.code, {"reason": error.reason, **told}, why)

    def left(self) -> None:
        """Its caller went away, or its deadline passed without an answer."""
        # Who does not read what there is has missed the deadline itself.
        is_ours = self._deadline.is_missed and not self._is_sending
        missed = {"reason": DEADLINE_MISSED} if is_ours else {}
        self._tell(self._deadline.code, missed)

    def _tell(self, code: grpc.StatusCode, more: Mapping[str, str], why: str = "") -> None:
        about = {**more, **self._about}
        AUDIENCE.get()(about)
        seconds = round(time.monotonic() - self._start, 3)
        timed = {"stages": self._stages} if self._stages else {}
        told = {"why": why} if why else {}
        log.info(
            "rpc", code=code.name, method=self._method, **about, **told, **timed, seconds=seconds
        )


@asynccontextmanager
async def rpc(method: str, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Rpc]:
    """Serve an RPC inside the block: what is raised there becomes its status.

    It is not raised any further: the handler then returns nothing.
    """
    # Every RPC is a task of its own, and its context ends with it.
    peer = shortened(context.peer(), _MAX_NAME)
    structlog.contextvars.bind_contextvars(**{CALL_ID: _call_id(context), "peer": peer})
    try:
        with logged(method, Deadline(seconds_left(context))) as told:
            yield told
    except DagInferenceError as error:
        await end(context, end_of(error))
        let_go(error)


@contextmanager
def logged(method: str, deadline: Deadline) -> Iterator[Rpc]:
    """Serve what has a line of its own in the log inside the block.

    Raises:
        GatewayBug: Anything but an error of the contract was raised. Its text stays in the log,
            under an id that the caller gets.
    """
    told = Rpc(method, deadline)
    try:
        yield told
    except DagInferenceError as error:
        told.failed(error)
        raise
    except (asyncio.CancelledError, GeneratorExit):
        told.left()
        raise
    except Exception as error:
        incident = uuid.uuid4().hex[:12]
        log.exception("gateway_bug", incident=incident)
        bug = GatewayBug(f"incident {incident}", subject=told.subject)
        told.failed(bug)
        raise bug from error
    else:
        told.ok()


class Rpcs:
    """The RPCs of our services that are under way, so that none is lost when the gateway goes."""

    def __init__(self) -> None:
        """None is."""
        self.count = 0
        self.closing = asyncio.Event()
        """Set when the gateway goes away: for RPCs that do not end by themselves."""
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._bounds: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def serve(
        self, method: str, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Rpc]:
        """Serve one inside the block, as `rpc` does."""
        self.count += 1
        self._quiet.clear()
        try:
            async with rpc(method, context) as told, self._bounded(told):
                yield told
        finally:
            self.count -= 1
            if not self.count:
                self._quiet.set()

    @asynccontextmanager
    async def _bounded(self, told: Rpc) -> AsyncIterator[None]:
        bound = asyncio.timeout(None)
        self._bounds.add(bound)
        try:
            async with bound:
                yield
        except TimeoutError:
            if not bound.expired():
                raise
            raise ShuttingDown(
                "the gateway is going away, and what was asked for may have been done or not",
                subject=told.subject,
                retry_after=RETRY_AFTER,
            ) from None
        finally:
            self._bounds.discard(bound)

    def cut_off(self) -> None:
        """End all that are under way with `ShuttingDown`."""
        for bound in self._bounds:
            # One that has just ended by itself cannot be.
            with suppress(RuntimeError):
                bound.reschedule(asyncio.get_running_loop().time())

    async def quiet(self) -> None:
        """Wait until none is under way."""
        await self._quiet.wait()


def call_headers() -> dict[str, str]:
    """What a request to Airflow says of the call that it is made for: its name, for both logs."""
    call_id = structlog.contextvars.get_contextvars().get(CALL_ID)
    return {CALL_ID_KEY: call_id} if call_id else {}


def _call_id(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The caller's own name for the call, if it has one that can be told; else a new one."""
    for key, value in context.invocation_metadata() or ():
        if key == CALL_ID_KEY and isinstance(value, str) and _CALL_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex[:12]
