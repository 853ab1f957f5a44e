"""The kinds of call of the soak, and how each has to end."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from benchmarks.calls import exists, invoke
from benchmarks.soak.airflow import FAILS, LATE, STAYS, SUCCEEDS
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc

_PATIENCE = 60
"""Seconds, of what has to end by itself."""

_SHORT = 0.3
"""Seconds, of what does not come to its end in time."""

OK = "OK"

Kind: TypeAlias = Callable[["Caller"], Awaitable[str]]
"""Makes one call, or two that belong together, and gives how it ended: `OK` or a reason."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One connection."""

    channel: grpc.aio.Channel

    @property
    def stub(self) -> Any:
        """The generated stub."""
        return rpc.DagInferenceStub(self.channel)


async def _ended(call: Any) -> str:
    """How a call ended; without a reason of ours, its code."""
    code: StatusCode = await call.code()
    if code is StatusCode.OK:
        return OK
    details = dict(await call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info = ErrorInfo()
    for packed in Status.FromString(details).details:
        if packed.Unpack(info):
            return str(info.reason)
    return f"bare {code.name}"


async def succeeds(caller: Caller) -> str:
    """A result."""
    return await _ended(caller.stub.Invoke(pb.InvokeRequest(dag_id=SUCCEEDS), timeout=_PATIENCE))


async def streams(caller: Caller) -> str:
    """A result, with every state on the way."""
    call = caller.stub.InvokeStream(pb.InvokeRequest(dag_id=SUCCEEDS), timeout=_PATIENCE)
    events = [event async for event in call]
    assert events[0].HasField("accepted")
    assert events[-1].HasField("result")
    return await _ended(call)


async def fails(caller: Caller) -> str:
    """A failed task, with its exception."""
    return await _ended(caller.stub.Invoke(pb.InvokeRequest(dag_id=FAILS), timeout=_PATIENCE))


async def passes_its_deadline(caller: Caller) -> str:
    """A run that takes longer than its caller waits."""
    return await _ended(caller.stub.Invoke(pb.InvokeRequest(dag_id=LATE), timeout=_SHORT))


async def ends_at_its_deadline(caller: Caller) -> str:
    """The same, and the run is ended with it."""
    request = pb.InvokeRequest(dag_id=STAYS, on_deadline=pb.ON_DEADLINE_CANCEL)
    return await _ended(caller.stub.Invoke(request, timeout=_SHORT))


async def goes_away(caller: Caller) -> str:
    """A caller that leaves when it has the run, which is ended then."""
    request = pb.InvokeRequest(dag_id=STAYS, on_disconnect=pb.ON_DISCONNECT_CANCEL)
    call = await exists(invoke(caller.channel)(request, timeout=_PATIENCE))
    call.cancel()
    return await _ended(call)


async def is_cancelled(caller: Caller) -> str:
    """A run that its caller has ended by request."""
    request = pb.InvokeRequest(dag_id=STAYS)
    call = await exists(invoke(caller.channel)(request, timeout=_PATIENCE))
    run_id = dict(await call.initial_metadata())["dag-run-id"]
    await caller.stub.Cancel(pb.CancelRequest(dag_id=STAYS, run_id=run_id), timeout=_PATIENCE)
    return await _ended(call)


_numbers = itertools.count()


async def repeats(caller: Caller) -> str:
    """The same call twice: the second finds the run of the first."""
    request = pb.InvokeRequest(dag_id=SUCCEEDS, request_id=f"soak-{next(_numbers)}")
    first = await caller.stub.Invoke(request, timeout=_PATIENCE)
    again = caller.stub.Invoke(request, timeout=_PATIENCE)
    assert (await again).run.run_id == first.run.run_id
    return await _ended(again)


async def waits(caller: Caller) -> str:
    """A caller that leaves the run alone, comes back by its id and gets the result."""
    call = await exists(invoke(caller.channel)(pb.InvokeRequest(dag_id=LATE), timeout=_PATIENCE))
    run_id = dict(await call.initial_metadata())["dag-run-id"]
    call.cancel()
    asked = pb.WaitRequest(dag_id=LATE, run_id=run_id)
    return await _ended(caller.stub.Wait(asked, timeout=_PATIENCE))


SHARES: Mapping[Kind, int] = {
    succeeds: 40,
    streams: 15,
    fails: 10,
    passes_its_deadline: 8,
    ends_at_its_deadline: 5,
    goes_away: 6,
    is_cancelled: 4,
    repeats: 8,
    waits: 4,
}
"""How often each is made, of a hundred."""

# On a machine that does all it can, the caller's own clock may be first.
_LATE = {"DEADLINE_EXCEEDED", "bare DEADLINE_EXCEEDED"}

MAY_END: Mapping[Kind, Collection[str]] = {
    succeeds: {OK},
    streams: {OK},
    fails: {"TASK_FAILED"},
    passes_its_deadline: _LATE,
    ends_at_its_deadline: _LATE,
    goes_away: {"bare CANCELLED"},
    is_cancelled: {"RUN_CANCELLED"},
    repeats: {OK},
    waits: {OK},
}
"""And how it ends, whatever else goes on."""
