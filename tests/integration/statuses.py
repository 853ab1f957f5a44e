"""What a caller sees of a call that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

Detail = TypeVar("Detail", bound=Message)


@dataclass(frozen=True, slots=True)
class Failure:
    """The status of a call, taken apart."""

    code: grpc.StatusCode
    message: str
    trailers: dict[str, str | bytes]

    @property
    def status(self) -> Status:
        """The rich status; empty if there is none."""
        return Status.FromString(self.encoded)

    @property
    def encoded(self) -> bytes:
        """The bytes of the rich status."""
        found = self.trailers.get("grpc-status-details-bin", b"")
        assert isinstance(found, bytes)
        return found

    def details(self, kind: type[Detail]) -> list[Detail]:
        """The details of one kind."""
        found = []
        for packed in self.status.details:
            detail = kind()
            if packed.Unpack(detail):
                found.append(detail)
        return found

    @property
    def info(self) -> ErrorInfo:
        """The one ErrorInfo that every error has."""
        (info,) = self.details(ErrorInfo)
        return info

    @property
    def reason(self) -> str:
        """Its reason; empty if the error is not of the contract."""
        return self.info.reason if self.details(ErrorInfo) else ""

    @property
    def metadata(self) -> dict[str, str]:
        """What the error is about."""
        return dict(self.info.metadata)

    @property
    def violations(self) -> list[str]:
        """The fields that are wrong."""
        return [v.field for bad in self.details(BadRequest) for v in bad.field_violations]

    @property
    def retry_after(self) -> timedelta | None:
        """When to come back, if that is said."""
        return next((r.retry_delay.ToTimedelta() for r in self.details(RetryInfo)), None)

    @property
    def resource(self) -> tuple[str, str] | None:
        """What was not found, if that is said."""
        found = self.details(ResourceInfo)
        return next(((r.resource_type, r.resource_name) for r in found), None)


async def failure(call: Awaitable[object]) -> Failure:
    """Await a call that has to fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return Failure(error.code(), error.details() or "", dict(error.trailing_metadata() or ()))


async def failure_of_ours(make: Callable[[], Awaitable[object]]) -> Failure:
    """Make a call that has to fail by its deadline, until the gateway's word on it is the first.

    Where the machine stands still for a moment, the caller's own clock is, which has none.
    """
    for _ in range(10):
        failed = await failure(make())
        if failed.reason:
            return failed
    raise AssertionError("ten calls, and no word of the gateway's")


async def ended(call: Any) -> None:
    """Wait until a call, or a stream, has ended without an answer."""
    try:
        await (call if isinstance(call, grpc.aio.UnaryUnaryCall) else _read(call))
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        return
    raise AssertionError("the call was answered")


async def _read(call: Any) -> None:
    async for _ in call:
        pass
