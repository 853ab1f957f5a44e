"""Requests of the contract, checked for form and turned into calls."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeAlias, TypedDict

from dag_inference.errors import (
    DeadlineExceeded,
    OptionNotAllowed,
    Subject,
    Violation,
)
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.edge.check import MAX_ID_BYTES, Check
from dag_inference_server.edge.deadline import margin
from dag_inference_server.invocation.call import (
    Attachment,
    Call,
    Cancellation,
    ResultFormat,
    what_passed,
)
from dag_inference_server.results.conf import NoConf, faults, from_struct, from_text
from dag_inference_server.results.struct import Json

MAX_RESULT_TASKS = 32

MAX_COMMENT = 256

QUICK = 64 * 1024
"""Bytes of a request that are read within some milliseconds. More would hold up other calls."""

_SHORTEST_RUN, _LONGEST_RUN = 0.001, 365 * 24 * 3600
"""Seconds that a `run_timeout` may be."""

_RUN_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.~:+-]+")

_FORMATS = {
    pb.RESULT_FORMAT_UNSPECIFIED: ResultFormat.STRUCT,
    pb.RESULT_FORMAT_STRUCT: ResultFormat.STRUCT,
    pb.RESULT_FORMAT_JSON: ResultFormat.JSON,
    pb.RESULT_FORMAT_REFERENCE: ResultFormat.REFERENCE,
}


_Request: TypeAlias = pb.InvokeRequest | pb.WaitRequest
TimeRemaining: TypeAlias = Callable[[], float | None]
"""Seconds until the caller's deadline; `None` if it has none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator allows a call. Times are seconds."""

    default_deadline: float
    max_deadline: float
    allow_result_task_ids: bool


async def read_invoke(
    request: pb.InvokeRequest, time_remaining: TimeRemaining, limits: Limits
) -> Call:
    """Turn a request into a call.

    Args:
        request: What came over the wire.
        time_remaining: Tells the seconds until the caller's deadline.
        limits: What the operator allows.

    Raises:
        RequestInvalid: With a violation for each field that is wrong.
        OptionNotAllowed: A field is set that the operator forbids.
    """
    check = _Check()
    check.wanted(request)
    if request.request_id:
        check.request_id("request_id", request.request_id)
    is_large = request.ByteSize() > QUICK
    conf = await asyncio.to_thread(check.conf, request) if is_large else check.conf(request)
    run_timeout = check.run_timeout(request)
    check.done()
    return Call(
        # Only now: a large conf has taken its share of the time.
        **_wanted(request, time_remaining(), limits),
        conf=conf,
        is_large=is_large,
        request_id=request.request_id or None,
        run_timeout=run_timeout,
    )


def read_wait(request: pb.WaitRequest, time_remaining: TimeRemaining, limits: Limits) -> Attachment:
    """Turn a request into an attachment, as `read_invoke`."""
    check = _Check()
    check.wanted(request)
    check.run_id(request.run_id)
    check.done()
    return Attachment(**_wanted(request, time_remaining(), limits), run_id=request.run_id)


def read_cancel(
    request: pb.CancelRequest, time_remaining: TimeRemaining, limits: Limits
) -> Cancellation:
    """Turn a request into a cancellation, as `read_invoke`."""
    check = _Check()
    check.id("dag_id", request.dag_id)
    check.run_id(request.run_id)
    check.comment(request.comment)
    check.done()
    waits = waiting(time_remaining(), limits)
    return Cancellation(
        dag_id=request.dag_id,
        run_id=request.run_id,
        comment=request.comment,
        patience=waits.seconds,
        limited_by=waits.limited_by,
    )


def read_describe(request: pb.DescribeDagRequest) -> str:
    """The DAG that is asked about, as `read_invoke`."""
    check = _Check()
    check.id("dag_id", request.dag_id)
    check.done()
    return request.dag_id


class _Fields(TypedDict):
    """The fields of `Wanted`."""

    dag_id: str
    result_task_ids: tuple[str, ...]
    result_format: ResultFormat
    patience: float
    last_look: float
    limited_by: str | None
    cancel_on_deadline: bool
    cancel_on_disconnect: bool


def _wanted(request: _Request, time_remaining: float | None, limits: Limits) -> _Fields:
    if request.result_task_ids and not limits.allow_result_task_ids:
        raise OptionNotAllowed(
            "this gateway does not let a request choose its result_task_ids",
            subject=Subject(request.dag_id),
        )
    waits = waiting(time_remaining, limits)
    return _Fields(
        dag_id=request.dag_id,
        result_task_ids=tuple(request.result_task_ids),
        result_format=_FORMATS[request.result_format],
        patience=waits.seconds,
        last_look=waits.last_look,
        limited_by=waits.limited_by,
        cancel_on_deadline=request.on_deadline == pb.ON_DEADLINE_CANCEL,
        cancel_on_disconnect=request.on_disconnect == pb.ON_DISCONNECT_CANCEL,
    )


@asynccontextmanager
async def within(time_remaining: float | None, limits: Limits) -> AsyncIterator[None]:
    """Do what is inside before the caller's own clock rings.

    Raises:
        DeadlineExceeded: There was no time for it.
    """
    waits = waiting(time_remaining, limits)
    try:
        async with asyncio.timeout(waits.seconds):
            yield
    except TimeoutError:
        passed = what_passed(waits.seconds, waits.limited_by)
        raise DeadlineExceeded(f"{passed} before Airflow had answered") from None


class Waiting(NamedTuple):
    """How long a call waits, as `Wanted` has it."""

    seconds: float
    last_look: float
    limited_by: str | None


def waiting(time_remaining: float | None, limits: Limits) -> Waiting:
    """How long to wait.

    The answer has to leave before the caller's own clock rings, or the caller gets
    that clock's bare status instead of ours with the run id.
    """
    if time_remaining is None:
        return Waiting(limits.default_deadline, _LAST_LOOK, "DEFAULT_DEADLINE")
    before = margin(time_remaining)
    seconds = max(time_remaining - before, 0.0)
    # Where there is little time, many that look at once would keep each other's answers.
    last_look = before / 2 if before >= _LAST_LOOK else 0.0
    if seconds > limits.max_deadline:
        return Waiting(limits.max_deadline, last_look, "MAX_DEADLINE")
    return Waiting(seconds, last_look, None)


_LAST_LOOK = 0.1


class _Check(Check):
    """Checks what the messages of the contract have."""

    def wanted(self, request: _Request) -> None:
        self.id("dag_id", request.dag_id)
        self.result_task_ids(request.result_task_ids)
        for field, enum in (
            ("result_format", pb.ResultFormat),
            ("on_deadline", pb.OnDeadline),
            ("on_disconnect", pb.OnDisconnect),
        ):
            known = getattr(request, field) in enum.values()
            self.that(known, field, "is not a choice of this version")

    def result_task_ids(self, task_ids: Sequence[str]) -> None:
        self.that(
            len(task_ids) <= MAX_RESULT_TASKS,
            "result_task_ids",
            f"must be at most {MAX_RESULT_TASKS}",
        )
        self.that(
            len(set(task_ids)) == len(task_ids), "result_task_ids", "must name each task once"
        )
        for index, task_id in enumerate(task_ids[:MAX_RESULT_TASKS]):
            self.id(f"result_task_ids[{index}]", task_id)

    def conf(self, request: pb.InvokeRequest) -> dict[str, Json]:
        field = request.WhichOneof("input")
        if field is None:
            return {}
        try:
            conf = from_struct(request.conf) if field == "conf" else from_text(request.conf_json)
            found = faults(conf)
        except NoConf as error:
            conf, found = {}, [error.fault]
        self.wrong(Violation(field + fault.path, fault.why) for fault in found)
        return conf

    def run_id(self, value: str) -> None:
        self.that(value != "", "run_id", "is required")
        if value:
            self.that(
                _RUN_ID.fullmatch(value) is not None and len(value) <= MAX_ID_BYTES,
                "run_id",
                f"must be letters, digits and any of _.~:+-, at most {MAX_ID_BYTES} bytes",
            )

    def run_timeout(self, request: pb.InvokeRequest) -> timedelta | None:
        if not request.HasField("run_timeout"):
            return None
        # Not by protobuf's own conversion, which refuses some of what comes over the wire.
        whole, nanos = request.run_timeout.seconds, request.run_timeout.nanos
        seconds = whole + nanos / 1e9
        self.that(
            _SHORTEST_RUN <= seconds <= _LONGEST_RUN and 0 <= nanos < 1_000_000_000,
            "run_timeout",
            f"must be from {_SHORTEST_RUN} s to {_LONGEST_RUN} s, which is a year, and its nanos "
            "part of a second",
        )
        return timedelta(seconds=min(max(seconds, 0), _LONGEST_RUN))

    def comment(self, value: str) -> None:
        self.that(len(value) <= MAX_COMMENT, "comment", f"must be at most {MAX_COMMENT} characters")
        self.that("\0" not in value, "comment", "holds U+0000, which cannot be stored")
