"""What becomes of a call whose caller goes away at a bad moment."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, NoReturn

import grpc

from dag_inference_server.edge.accepting import accept
from dag_inference_server.edge.deadline import Deadline
from dag_inference_server.edge.handlers import Ending
from dag_inference_server.edge.rpc import Rpc
from dag_inference_server.edge.status import end


class Leaving:
    """The context of an RPC whose caller goes while the initial metadata is on its way."""

    def __init__(self) -> None:
        """Be on the way until the caller has gone."""
        self.sending, self.gone = asyncio.Event(), asyncio.Event()

    async def send_initial_metadata(self, _: object) -> NoReturn:
        """Find nobody there."""
        self.sending.set()
        await self.gone.wait()
        raise grpc.aio.InternalError


async def test_a_run_id_that_reaches_nobody_is_no_error_in_the_log() -> None:
    """The call ends as one whose caller has left, and the event loop has nothing to complain of."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    context: Any = Leaving()
    call = asyncio.create_task(accept(context, Rpc("Invoke", Deadline(None)), "grpc-1"))
    await context.sending.wait()

    call.cancel()
    assert not (await asyncio.wait((call,), timeout=0.05))[0]
    context.gone.set()

    await asyncio.wait((call,))
    assert call.cancelled()
    del call
    # The loop itself holds it until its next turn.
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


class Refused:
    """The context of an RPC whose caller goes while its status is on its way."""

    def __init__(self) -> None:
        """Have no status yet."""
        self._code: grpc.StatusCode | None = None

    async def abort(self, code: grpc.StatusCode, *_: object) -> NoReturn:
        """Take it, and find nobody there, as gRPC does (`aio/server.pyx.pxi`)."""
        self._code = code
        raise grpc.aio.InternalError

    def code(self) -> grpc.StatusCode | None:
        """What it has taken."""
        return self._code

    def time_remaining(self) -> float | None:
        """For ever."""
        return None

    def invocation_metadata(self) -> tuple[()]:
        """None."""
        return ()


async def test_a_status_that_reaches_nobody_counts_as_what_it_is() -> None:
    """And not as `UNKNOWN`, which would be a bug of the gateway and wake somebody."""
    context: Any = Refused()
    ended: list[int] = []

    with Ending(context, ended.append):
        await end(context, (grpc.StatusCode.ABORTED, "the task failed", ()))

    assert ended == [grpc.StatusCode.ABORTED.value[0]]
