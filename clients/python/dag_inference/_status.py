"""From the status of an RPC to an exception of the table in `errors.py`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status
from grpc import RpcError, StatusCode
from grpc_status import rpc_status

from dag_inference._metadata import run_id_in
from dag_inference.errors import (
    BY_REASON,
    DOMAIN,
    DagInferenceError,
    DeadlineExceeded,
    RequestInvalid,
    ServiceError,
    Subject,
    Violation,
)

if TYPE_CHECKING:
    import grpc

    from dag_inference._metadata import Metadata

Detail = TypeVar("Detail", bound=Message)

_BARE: dict[StatusCode, str] = {
    StatusCode.UNAVAILABLE: "the gateway at {target} cannot be reached: {details}",
    StatusCode.UNIMPLEMENTED: "the gateway at {target} does not serve this method: {details}",
    StatusCode.DEADLINE_EXCEEDED: (
        "the deadline passed before an answer came from {target}, if it can be reached"
    ),
}
"""What to say of statuses that gRPC itself or something on the way has made."""


_BARE_CLASSES: dict[StatusCode, type[DagInferenceError]] = {
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    # Nobody is there, or it is just going away, or a proxy is full.
    StatusCode.UNAVAILABLE: ServiceError,
    StatusCode.CANCELLED: ServiceError,
    StatusCode.RESOURCE_EXHAUSTED: ServiceError,
}
"""What they are raised as; others as `DagInferenceError` itself."""


_TOO_LARGE = re.compile(r"^SERVER: Received message larger|received metadata size exceeds")
"""What gRPC says of a request that is so large that it is not read. To repeat it is no use."""


class Ended(Protocol):
    """What blocking and asyncio errors have in common."""

    def code(self) -> StatusCode: ...
    def details(self) -> str | None: ...
    def initial_metadata(self) -> Metadata | None: ...


def exception_from(error: RpcError, *, target: str, asked: Subject) -> DagInferenceError:
    """Find the exception for an RPC that ended with another status than `OK`.

    Args:
        error: What gRPC raised, blocking or asyncio.
        target: The gateway's address, for people.
        asked: The DAG and run that the request named. They fill what the
            gateway did not say; so does the run id in the initial metadata.
    """
    ended = cast("Ended", error)
    asked = replace(asked, run_id=run_id_in(ended.initial_metadata()) or asked.run_id)
    status = _status(error)
    info = _detail(status, ErrorInfo)
    if info is None or info.domain != DOMAIN:
        return _bare(ended, target, asked)
    return _of_the_contract(ended, status, info, asked)


def _of_the_contract(
    ended: Ended, status: Status, info: ErrorInfo, asked: Subject
) -> DagInferenceError:
    known = BY_REASON.get(info.reason)
    retry = _detail(status, RetryInfo)
    bad_request = _detail(status, BadRequest) or BadRequest()
    return (known or DagInferenceError)(
        # A reason of a newer gateway has no class here that would show it.
        status.message if known else f"{info.reason}: {status.message}",
        subject=_filled(Subject.from_metadata(info.metadata), asked),
        code=ended.code(),
        retry_after=retry.retry_delay.ToTimedelta() if retry else None,
        violations=[Violation(v.field, v.description) for v in bad_request.field_violations],
    )


def _bare(ended: Ended, target: str, asked: Subject) -> DagInferenceError:
    code = ended.code()
    details = ended.details() or "no details were given"
    made = _BARE_CLASSES.get(code, DagInferenceError)
    if code is StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE.search(details):
        made = RequestInvalid
    message = _BARE.get(code, "{details}").format(target=target, details=details)
    return made(message, subject=asked, code=code)


def _filled(subject: Subject, asked: Subject) -> Subject:
    return replace(
        subject,
        dag_id=subject.dag_id or asked.dag_id,
        run_id=subject.run_id or asked.run_id,
    )


def _status(error: RpcError) -> Status:
    try:
        status: Status | None = rpc_status.from_call(cast("grpc.Call", error))
    except (ValueError, DecodeError):
        # It contradicts code and details: not what the gateway sent.
        return Status()
    return status or Status()


def _detail(status: Status, kind: type[Detail]) -> Detail | None:
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            return detail
    return None
