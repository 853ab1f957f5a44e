"""Callers with the gateway: one `Wait` for each run, parked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from benchmarks.calls import Call, connections, exists, wait
from dag_inference.v1 import dag_inference_pb2 as pb

_PATIENCE = 3600
_ATTACHED_WITHIN = 180


@asynccontextmanager
async def parked_calls(
    target: str, dag_id: str, run_ids: Sequence[str]
) -> AsyncIterator[Mapping[str, Call]]:
    """Wait for runs inside the block, from when the gateway has found all of them.

    The calls by run id.
    """
    async with connections(target, 1) as (channel,):
        call = wait(channel)
        calls = {
            run_id: call(pb.WaitRequest(dag_id=dag_id, run_id=run_id), timeout=_PATIENCE)
            for run_id in run_ids
        }
        try:
            async with asyncio.timeout(_ATTACHED_WITHIN):
                await asyncio.gather(*map(exists, calls.values()))
            yield calls
        finally:
            for parked in calls.values():
                parked.cancel()
