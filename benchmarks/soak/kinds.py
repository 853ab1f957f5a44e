"""The kinds of call of the soak, and how each has to end."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from benchmarks.calls import Call, invoke
from benchmarks.soak.airflow import FAILS, FULL, LARGE, LATE, STAYS, SUCCEEDS
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from dag_inference_server.inference import open_inference_pb2 as inference
from dag_inference_server.inference import open_inference_pb2_grpc as inference_rpc

_PATIENCE = 60
"""Seconds, of what has to end by itself."""

_SHORT = 0.3
"""Seconds, of what does not come to its end in time."""

_HELD = 3000
"""Seconds, of calls that only take places."""

OK, UNAVAILABLE, OVERLOADED = "OK", "AIRFLOW_UNAVAILABLE", "OVERLOADED"

PLACES = 80
"""Calls that there may be of a DAG: more than ever wait for the same one, but for `FULL`."""

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


async def _run_of(call: Call) -> str | None:
    """The run of a call as soon as there is one; `None` if the call ends without."""
    found: str | None = dict(await call.initial_metadata() or ()).get("dag-run-id")
    return found


async def _left(caller: Caller, dag_id: str) -> tuple[Call, str | None]:
    """A call that is given up when it has its run, and that run; `None` if none is made."""
    call = invoke(caller.channel)(pb.InvokeRequest(dag_id=dag_id), timeout=_PATIENCE)
    run_id = await _run_of(call)
    if run_id is not None:
        call.cancel()
    return call, run_id


async def _streamed(call: Any) -> str:
    """How a stream ended, which has to begin with its run and to end with the result."""
    events = []
    with suppress(grpc.aio.AioRpcError):
        events = [event async for event in call]
    end = await _ended(call)
    if end == OK:
        assert events[0].HasField("accepted")
        assert events[-1].HasField("result")
    return end


async def succeeds(caller: Caller) -> str:
    """A result."""
    return await _ended(caller.stub.Invoke(pb.InvokeRequest(dag_id=SUCCEEDS), timeout=_PATIENCE))


async def streams(caller: Caller) -> str:
    """A result, with every state on the way."""
    request = pb.InvokeRequest(dag_id=SUCCEEDS)
    return await _streamed(caller.stub.InvokeStream(request, timeout=_PATIENCE))


async def infers(caller: Caller) -> str:
    """A result as tensors."""
    stub: Any = inference_rpc.GRPCInferenceServiceStub(caller.channel)
    request = inference.ModelInferRequest(model_name=SUCCEEDS)
    return await _ended(stub.ModelInfer(request, timeout=_PATIENCE))


async def gets_much(caller: Caller) -> str:
    """A result that another process reads."""
    return await _ended(caller.stub.Invoke(pb.InvokeRequest(dag_id=LARGE), timeout=_PATIENCE))


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
    call = invoke(caller.channel)(request, timeout=_PATIENCE)
    if await _run_of(call) is not None:
        call.cancel()
    return await _ended(call)


async def is_refused(caller: Caller) -> str:
    """A call of a DAG that has as many as there may be: see `all_places`."""
    return await _ended(caller.stub.Invoke(pb.InvokeRequest(dag_id=FULL), timeout=_PATIENCE))


@asynccontextmanager
async def all_places(caller: Caller) -> AsyncIterator[None]:
    """Calls inside the block that take all places of a DAG, and do nothing else."""
    request = pb.InvokeRequest(dag_id=FULL, on_disconnect=pb.ON_DISCONNECT_CANCEL)
    held: list[Call] = []
    while len(held) < PLACES:
        call = invoke(caller.channel)(request, timeout=_HELD)
        if await _run_of(call) is not None:
            held.append(call)
    try:
        yield
    finally:
        for call in held:
            call.cancel()


async def is_cancelled(caller: Caller) -> str:
    """A run that its caller has ended by request."""
    request = pb.InvokeRequest(dag_id=STAYS)
    call = invoke(caller.channel)(request, timeout=_PATIENCE)
    if (run_id := await _run_of(call)) is not None:
        this = pb.CancelRequest(dag_id=STAYS, run_id=run_id)
        while await _ended(caller.stub.Cancel(this, timeout=_PATIENCE)) == UNAVAILABLE:
            pass
    return await _ended(call)


_numbers = itertools.count()


async def repeats(caller: Caller) -> str:
    """The same call twice: the second finds the run of the first."""
    request = pb.InvokeRequest(dag_id=SUCCEEDS, request_id=f"soak-{next(_numbers)}")
    runs = set()
    for _ in range(2):
        call = caller.stub.Invoke(request, timeout=_PATIENCE)
        if (end := await _ended(call)) != OK:
            return end
        runs.add((await call).run.run_id)
    assert len(runs) == 1
    return OK


async def waits(caller: Caller) -> str:
    """A caller that leaves the run alone, comes back by its id and gets the result."""
    return await _come_back(
        caller, lambda asked: _ended(caller.stub.Wait(asked, timeout=_PATIENCE))
    )


async def watches(caller: Caller) -> str:
    """The same, and sees every state from there on."""
    return await _come_back(
        caller, lambda asked: _streamed(caller.stub.Watch(asked, timeout=_PATIENCE))
    )


async def _come_back(caller: Caller, ask: Callable[[pb.WaitRequest], Awaitable[str]]) -> str:
    call, run_id = await _left(caller, LATE)
    if run_id is None:
        return await _ended(call)
    return await ask(pb.WaitRequest(dag_id=LATE, run_id=run_id))


SHARES: Mapping[Kind, int] = {
    succeeds: 34,
    streams: 12,
    infers: 5,
    gets_much: 1,
    fails: 9,
    passes_its_deadline: 8,
    ends_at_its_deadline: 5,
    goes_away: 6,
    is_refused: 4,
    is_cancelled: 4,
    repeats: 6,
    waits: 3,
    watches: 3,
}
"""How often each is made, of a hundred."""

# On a machine that does all it can, the caller's own clock may be first.
_LATE = {"DEADLINE_EXCEEDED", "bare DEADLINE_EXCEEDED"}

_MAY_END: Mapping[Kind, Collection[str]] = {
    succeeds: {OK},
    streams: {OK},
    infers: {OK},
    gets_much: {OK},
    fails: {"TASK_FAILED"},
    passes_its_deadline: _LATE,
    ends_at_its_deadline: _LATE,
    goes_away: {"bare CANCELLED"},
    is_refused: {OVERLOADED},
    is_cancelled: {"RUN_CANCELLED"},
    repeats: {OK},
    waits: {OK},
    watches: {OK},
}
"""And how it ends, whatever else goes on, but for those that Airflow's trouble ends."""


def is_wrong(kind: Kind, end: str) -> bool:
    """Whether a call of that kind has to end otherwise."""
    return end != UNAVAILABLE and end not in _MAY_END[kind]
