"""Callers without the gateway: one `/wait` stream for each run, held open.

A worker: ready when every stream has told where its run stands, or enough time has passed. A
stream that breaks is opened again, as a caller would, and counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import httpx

from benchmarks import worker
from benchmarks.real.client import client

_OPENED_AT_ONCE = 50

_OPEN_WITHIN = 120
"""Seconds."""


class Streams:
    """Streams, and when each of their lines came."""

    def __init__(self, airflow: httpx.AsyncClient, dag_id: str, interval: float) -> None:
        """Wait for runs of a DAG; Airflow looks at each every `interval` seconds."""
        self._airflow = airflow
        self._dag_id = dag_id
        self._interval = interval
        self._turn = asyncio.Semaphore(_OPENED_AT_ONCE)
        self.lines: dict[str, list[float]] = {}
        self.broken = 0
        """Streams that ended without the end of their run."""

    async def hold(self, run_id: str, opened: asyncio.Event) -> None:
        """Wait for a run."""
        self.lines[run_id] = []
        while True:
            try:
                async with AsyncExitStack() as turn:
                    await turn.enter_async_context(self._turn)
                    async for _ in self._stream(run_id):
                        opened.set()
                        await turn.aclose()
            except httpx.HTTPError:
                self.broken += 1
            else:
                return

    async def _stream(self, run_id: str) -> AsyncIterator[None]:
        where = f"/dags/{self._dag_id}/dagRuns/{run_id}/wait"
        options = {"interval": self._interval}
        async with self._airflow.stream("GET", where, params=options) as response:
            response.raise_for_status()
            async for _ in response.aiter_lines():
                self.lines[run_id].append(time.monotonic())
                yield


async def main() -> None:
    """Hold the streams until told; say how often each told of its run."""
    given: dict[str, Any] = worker.arguments()
    async with client(given["url"], given["token"]) as airflow:
        streams = Streams(airflow, given["dag_id"], given["interval"])
        opened = {run_id: asyncio.Event() for run_id in given["run_ids"]}
        async with asyncio.TaskGroup() as group:
            held = [group.create_task(streams.hold(*item)) for item in opened.items()]
            opening = [group.create_task(event.wait()) for event in opened.values()]
            await asyncio.wait(opening, timeout=_OPEN_WITHIN)
            broken = streams.broken
            worker.say_ready()
            start = time.monotonic()
            await asyncio.to_thread(worker.until_told)
            seconds = time.monotonic() - start
            for task in (*held, *opening):
                task.cancel()
    counted = [[at for at in times if at >= start] for times in streams.lines.values()]
    worker.answer(
        {
            "lines_per_second": sum(map(len, counted)) / seconds,
            "broken": streams.broken - broken,
            "ticks": [b - a for times in counted for a, b in pairwise(times)],
        }
    )


if __name__ == "__main__":
    asyncio.run(main())
