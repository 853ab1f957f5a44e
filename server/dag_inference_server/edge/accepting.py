"""How the caller of a unary call, and the log, learn that the run exists."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from dag_inference_server.edge.rpc import Rpc
from dag_inference_server.invocation.call import Accepted, Timing
from dag_inference_server.let_go import let_go
from dag_inference_server.watcher import Snapshot

RUN_ID_KEY = "dag-run-id"
"""Initial metadata: the run id, as soon as the run exists."""


class Quiet:
    """The listener of a unary call: only the run id goes out early."""

    every_state = False

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], told: Rpc) -> None:
        """Tell the caller of `context`, and the log."""
        self._context = context
        self._told = told

    async def accepted(self, event: Accepted) -> None:
        """The run exists."""
        await accept(self._context, self._told, event.run.run_id)

    def changed(self, snapshot: Snapshot) -> None:
        """Something of the run has changed."""

    def failed(self, timing: Timing) -> None:
        """The call ends with an error."""
        self._told.timed(timing)


async def accept(context: grpc.aio.ServicerContext[Any, Any], told: Rpc, run_id: str) -> None:
    """Tell the caller and the log that the run exists."""
    told.accepted(run_id)
    sending = asyncio.ensure_future(context.send_initial_metadata(((RUN_ID_KEY, run_id),)))
    try:
        # A status cannot be sent while the metadata is under way, and would never be sent again.
        await asyncio.shield(sending)
    except asyncio.CancelledError:
        await asyncio.wait((sending,))
        # That it failed is no news, and no error in the log.
        sending.exception()
        raise
    except grpc.aio.InternalError as error:
        let_go(error)
        # There is nobody to send it to. gRPC itself says so a moment later.
        raise asyncio.CancelledError from error
