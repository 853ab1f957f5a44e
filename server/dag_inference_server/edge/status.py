"""What of an exception goes over the wire: the one place where exceptions become statuses."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from dag_inference.errors import (
    DOMAIN,
    DagInferenceError,
    DagNotFound,
    RunNotFound,
)
from dag_inference_server.let_go import let_go

DETAILS_KEY = "grpc-status-details-bin"
"""The metadata key of `google.rpc.Status` (grpc/grpc, `doc/statuscodes.md` and grpcio-status)."""

_MAX_MESSAGE = 500
"""Of the message, in bytes on the wire. A client drops the whole status above 8 kB of
metadata, and the message travels twice: as it is, and percent-encoded."""

_MAX_FIELD, _MAX_DESCRIPTION, _MAX_VIOLATIONS = 100, 200, 10
"""Of the violations, likewise."""

_MAX_NAME = 300
"""Of a resource's name and of each value of the metadata, likewise. Ids are shorter."""


End: TypeAlias = tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]
"""What ends an RPC: code, message and trailing metadata."""


async def end(context: grpc.aio.ServicerContext[Any, Any], how: End) -> None:
    """End the RPC so. Its handler then has to return, and what it returns is not sent."""
    try:
        await context.abort(*how)
    except (grpc.aio.AbortError, grpc.aio.InternalError) as aborted:
        # The RPC keeps the first, and raises it anew when the handler returns. The second: the
        # caller left while its status was being sent, which is no error of ours.
        let_go(aborted)


def end_of(error: DagInferenceError) -> End:
    """How an RPC ends that has this error."""
    status = to_status(error)
    metadata: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
    if error.retry_after is not None:
        # What a channel's retry policy goes by, and a negative one forbids (gRFC A6): the caller
        # may know better than its channel whether a second run does harm.
        seconds = error.retry_after.total_seconds()
        milliseconds = int(seconds * 1000) if error.is_repeatable else -1
        metadata.append(("grpc-retry-pushback-ms", str(milliseconds)))
    return error.code, status.message, tuple(metadata)


def to_status(error: DagInferenceError) -> Status:
    """The rich status of an error: its ErrorInfo, and the details that fit."""
    details: list[Message] = [
        ErrorInfo(
            domain=DOMAIN,
            reason=error.reason,
            metadata={
                key: shortened(value, _MAX_NAME)
                for key, value in error.subject.to_metadata().items()
            },
        )
    ]
    if error.retry_after is not None:
        delay = Duration()
        delay.FromTimedelta(error.retry_after)
        details.append(RetryInfo(retry_delay=delay))
    if error.violations:
        details.append(
            BadRequest(
                field_violations=[
                    BadRequest.FieldViolation(
                        field=shortened(violation.field, _MAX_FIELD),
                        description=shortened(violation.description, _MAX_DESCRIPTION),
                    )
                    for violation in error.violations[:_MAX_VIOLATIONS]
                ]
            )
        )
    if resource := _resource(error):
        details.append(resource)
    return Status(
        code=error.code.value[0],
        message=shortened(error.message, _MAX_MESSAGE),
        details=[_packed(detail) for detail in details],
    )


def _resource(error: DagInferenceError) -> ResourceInfo | None:
    match error:
        case DagNotFound():
            return ResourceInfo(resource_type="dag", resource_name=error.subject.dag_id or "")
        case RunNotFound():
            return ResourceInfo(resource_type="run", resource_name=error.subject.run_id or "")
        case _:
            return None


def shortened(text: str, limit: int) -> str:
    """The text, cut to so many bytes of its percent-encoded form (gRPC over HTTP/2)."""
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    spent, kept = 0, len(text)
    for position, character in enumerate(text):
        spent += 1 if " " <= character <= "~" else 3 * len(character.encode(errors="replace"))
        if spent > limit:
            kept = position
            break
    # A lone surrogate is no text, and protobuf has no way to send it.
    start = text[:kept].encode(errors="replace").decode()
    return start if kept == len(text) else start + "…"


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
