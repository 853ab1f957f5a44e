"""How a gateway goes away without losing a call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc
import structlog

from dag_inference_server.edge.health import Health
from dag_inference_server.edge.rpc import Rpcs
from dag_inference_server.ending.attendance import Attendance
from dag_inference_server.invocation.admission import Admission
from dag_inference_server.invocation.invocation import Invocations

log = structlog.get_logger(__name__)

_ANNOUNCED = 0.5
"""Seconds, of the grace, in which new calls still get a coded answer. Then their connections are
told to go elsewhere."""

_LAST_WORDS, _A_WORD = 1.0, 0.001
"""Seconds, of the grace, in which the calls that are left get their status: in all at least, and
for each. One core sends some thousand a second."""

_AFTERWARDS = 1.5
"""Seconds, of the grace, for all that comes after them: what is on its way out, runs that are being
ended, traces, and the end of the process."""

_FLUSH = 0.3
"""Seconds for what is on its way out, and for watchers of health, who never leave by themselves."""

_ENDINGS = 1.5
"""Seconds for runs whose callers left just before. Calls get their last words meanwhile."""


class Drain:
    """Ends a server in order: announce, refuse, let finish, say where the rest can come back."""

    def __init__(
        self,
        server: grpc.aio.Server,
        health: Health,
        admission: Admission,
        invocations: Invocations,
        attendance: Attendance,
        *,
        rpcs: Rpcs,
    ) -> None:
        """End these."""
        self._server = server
        self._health = health
        self._admission = admission
        self._invocations = invocations
        self._rpcs = rpcs
        self._attendance = attendance
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """Give no more time to the calls in flight."""
        self._hurry.set()

    async def end(self, delay: float, grace: float) -> None:
        """End the server.

        Args:
            delay: Seconds in which new calls are still taken, although health says no: until
                everybody who goes by health has noticed, and sends them elsewhere.
            grace: Seconds after that, until all is over. Calls in flight may go on in the first
                half of them at least, and as long as the last words leave.
        """
        now = asyncio.get_running_loop().time
        log.info("going_away", calls=self._rpcs.count, delay=delay, grace=grace)
        self._health.refuse("going away")
        await _first(delay, self._hurry.wait())
        start = now()
        self._admission.close()
        self._rpcs.closing.set()
        await _first(min(_ANNOUNCED, grace / 10), self._hurry.wait())
        # From here on clients open their next connection elsewhere.
        stopping = asyncio.create_task(self._server.stop(grace + _FLUSH))
        words = max(_LAST_WORDS, _A_WORD * self._rpcs.count)
        closing = min(words + _AFTERWARDS, grace / 2)
        words = max(closing - _AFTERWARDS, closing / 3, _FLUSH)
        await _first(start + grace - closing - now(), self._hurry.wait(), self._rpcs.quiet())
        if left := self._rpcs.count:
            log.warning("calls_cut_off", calls=left)
        # It is the gateway that leaves its callers: their runs go on.
        self._attendance.close()
        endings = asyncio.create_task(self._attendance.finish(_ENDINGS))
        await self._invocations.end_all()
        await _first(words / 2, self._rpcs.quiet())
        # What does not wait for a run, and answers that are still being made.
        self._rpcs.cut_off()
        await _first(words / 2, self._rpcs.quiet())
        await self._server.stop(_FLUSH)
        await stopping
        await endings
        log.info("gone")


async def _first(seconds: float, *happenings: Coroutine[Any, Any, object]) -> None:
    """Wait until one of them has happened, for so long at most."""
    tasks = [asyncio.create_task(happening) for happening in happenings]
    try:
        await asyncio.wait(tasks, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
