"""A stream's events: what changed since the reader was last told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.airflow import DagRun, TaskInstance
from dag_inference_server.edge.responses import Responses, run_state, task_instance
from dag_inference_server.edge.wire import Answer
from dag_inference_server.invocation.call import Accepted, Timing
from dag_inference_server.together import abandon
from dag_inference_server.watcher import Snapshot


class EventStream:
    """Listens to one call, and tells its reader.

    Between two reads only the newest snapshot is kept: a slow reader gets the newest
    state of each task instance, and costs no memory.
    """

    every_state = True

    def __init__(
        self,
        responses: Responses,
        send_run_id: Callable[[str], Awaitable[None]],
        failed: Callable[[Timing], None],
        *,
        heartbeat_interval: float,
    ) -> None:
        """Prepare.

        Args:
            responses: Makes the messages.
            send_run_id: Sends the run id ahead of every event.
            failed: Is told where the time of a call went that ends with an error.
            heartbeat_interval: Seconds that the stream may be quiet.
        """
        self._responses = responses
        self._send_run_id = send_run_id
        self._failed = failed
        self._heartbeat_interval = heartbeat_interval
        self._news = asyncio.Event()
        self._accepted: Accepted | None = None
        self._snapshot: Snapshot | None = None
        self._told_run: DagRun | None = None
        self._told: dict[tuple[str, int], tuple[str, int]] = {}

    async def accepted(self, event: Accepted) -> None:
        """The run exists."""
        await self._send_run_id(event.run.run_id)
        self._accepted = event
        self._news.set()

    def changed(self, snapshot: Snapshot) -> None:
        """Something of the run has changed."""
        self._snapshot = snapshot
        self._news.set()

    def failed(self, timing: Timing) -> None:
        """The call ends with an error, which `events` raises."""
        self._failed(timing)

    async def events(
        self, work: Coroutine[Any, Any, Answer[pb.InvokeResponse]]
    ) -> AsyncGenerator[pb.InvokeStreamResponse]:
        """Do the work, and yield every event of it; the last one is the result.

        Raises:
            DagInferenceError: What the work raises, after the events before it.
        """
        working = asyncio.create_task(work)
        working.add_done_callback(lambda _: self._news.set())
        try:
            while True:
                if not await self._something_to_tell():
                    # `accepted` is the first event, however long the trigger takes.
                    if self._told_run is not None:
                        yield self._heartbeat()
                    continue
                done = working.done()
                for event in self._to_tell():
                    yield event
                if done:
                    yield working.result().within(_event(), "result")
                    return
        finally:
            # Nothing of the call outlives its RPC, whose span and line in the log end with it.
            await abandon(working)

    async def _something_to_tell(self) -> bool:
        """Wait for news; false if there was none for too long."""
        try:
            async with asyncio.timeout(self._heartbeat_interval):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    def _to_tell(self) -> Iterator[pb.InvokeStreamResponse]:
        if self._accepted is not None:
            yield _event(accepted=self._responses.accepted(self._accepted))
            self._told_run = self._accepted.run
            self._accepted = None
        if self._snapshot is None:
            return
        run, instances = self._snapshot.run, self._snapshot.instances.values()
        # The start of the run before its tasks, and its end after them.
        if run is not None and not run.is_final:
            yield from self._tell_run(run)
        for instance in sorted(instances, key=_by_time):
            yield from self._tell_instance(instance)
        if run is not None and run.is_final:
            yield from self._tell_run(run)

    def _tell_run(self, run: DagRun) -> Iterator[pb.InvokeStreamResponse]:
        if self._told_run is None or run.state != self._told_run.state:
            self._told_run = run
            yield _event(run=self._responses.run(run))

    def _tell_instance(self, instance: TaskInstance) -> Iterator[pb.InvokeStreamResponse]:
        news = (instance.state, instance.try_number)
        known = self._told.get(instance.key)
        # A task that waits for those before it has no state: that is no news.
        if news != known and not (known is None and instance.state == "none"):
            self._told[instance.key] = news
            yield _event(task_instance=task_instance(instance))

    def _heartbeat(self) -> pb.InvokeStreamResponse:
        return _event(heartbeat=pb.Heartbeat(run_state=run_state(self._told_run)))


def _by_time(instance: TaskInstance) -> tuple[bool, float]:
    moment = instance.end_date or instance.start_date
    return (moment is None, moment.timestamp() if moment else 0.0)


def _event(**event: Any) -> pb.InvokeStreamResponse:
    now = Timestamp()
    now.GetCurrentTime()
    return pb.InvokeStreamResponse(event_time=now, **event)
