"""What becomes of a call whose caller goes away at a bad moment."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, NoReturn

import grpc

from dag_inference_server.edge.accepting import accept
from dag_inference_server.edge.deadline import Deadline
from dag_inference_server.edge.rpc import Rpc


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
