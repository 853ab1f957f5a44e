"""What a stream tells on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from datetime import UTC, datetime
from threading import Event as Flag
from typing import TYPE_CHECKING

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from dag_inference import (
    Accepted,
    AsyncDagInferenceClient,
    Completed,
    DagInferenceClient,
    Event,
    Heartbeat,
    ResultRule,
    RunChanged,
    RunState,
    TaskInstanceChanged,
    TaskInstanceState,
)
from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    import grpc

Serve = Callable[..., str]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def told(**event: object) -> pb.InvokeStreamResponse:
    """An event at noon."""
    at = Timestamp()
    at.FromDatetime(NOON)
    return pb.InvokeStreamResponse(event_time=at, **event)  # type: ignore[arg-type]


RUN = pb.Run(dag_id="iris", run_id="grpc__1", state=pb.RUN_STATE_QUEUED)
RUNNING = pb.Run(dag_id="iris", run_id="grpc__1", state=pb.RUN_STATE_RUNNING)

EVENTS = [
    told(
        accepted=pb.Accepted(
            run=RUN, attached=True, result_task_ids=["predict"], result_rule=pb.RESULT_RULE_TAG
        )
    ),
    told(run=RUNNING),
    told(
        task_instance=pb.TaskInstance(
            task_id="predict", map_index=0, try_number=1, state=pb.TASK_INSTANCE_STATE_RUNNING
        )
    ),
    told(),  # one of a newer gateway
    told(heartbeat=pb.Heartbeat(run_state=pb.RUN_STATE_RUNNING)),
    told(result=pb.InvokeResponse(run=RUNNING)),
]


def speak(request: object, context: grpc.ServicerContext) -> Iterator[pb.InvokeStreamResponse]:
    """Tell all events."""
    yield from EVENTS


def check(events: list[Event]) -> None:
    """Compare with `EVENTS`."""
    accepted, run, task_instance, heartbeat, completed = events
    assert isinstance(accepted, Accepted)
    assert accepted.time == NOON
    assert accepted.run.state is RunState.QUEUED
    assert accepted.attached
    assert accepted.result_task_ids == ("predict",)
    assert accepted.result_rule is ResultRule.TAG
    assert isinstance(run, RunChanged)
    assert run.run.state is RunState.RUNNING
    assert isinstance(task_instance, TaskInstanceChanged)
    assert task_instance.task_instance.task_id == "predict"
    assert task_instance.task_instance.map_index == 0
    assert task_instance.task_instance.state is TaskInstanceState.RUNNING
    assert heartbeat == Heartbeat(NOON, RunState.RUNNING)
    assert isinstance(completed, Completed)
    assert completed.result.run.run_id == "grpc__1"


async def test_a_stream_is_typed_events_and_unknown_ones_are_passed_over(serve: Serve) -> None:
    """One class per kind of event, the result last; a newer gateway's are left out."""
    target = serve(InvokeStream=speak)

    with DagInferenceClient(target) as client:
        check(list(client.stream("iris")))
    async with AsyncDagInferenceClient(target) as aio:
        check([event async for event in aio.stream("iris")])


async def test_watch_tells_the_same_of_a_run_that_exists(serve: Serve) -> None:
    """`watch` is `stream` without the trigger."""
    target = serve(Watch=speak)

    with DagInferenceClient(target) as client:
        check(list(client.watch("iris", "grpc__1")))
    async with AsyncDagInferenceClient(target) as aio:
        check([event async for event in aio.watch("iris", "grpc__1")])


def test_the_run_is_triggered_by_the_call_and_not_by_the_iteration(serve: Serve) -> None:
    """A stream that is read later has begun all the same."""
    begun = Flag()

    def begin(request: object, context: grpc.ServicerContext) -> Iterator[pb.InvokeStreamResponse]:
        begun.set()
        yield from EVENTS

    with DagInferenceClient(serve(InvokeStream=begin)) as client:
        events = client.stream("iris")
        assert begun.wait(5)
        check(list(events))


@pytest.mark.parametrize("client_kind", ["blocking", "asyncio"])
async def test_a_reader_that_breaks_off_gives_the_call_up(serve: Serve, client_kind: str) -> None:
    """Closing the generator ends the RPC."""
    gone = Flag()

    def hang(request: object, context: grpc.ServicerContext) -> Iterator[pb.InvokeStreamResponse]:
        context.add_callback(gone.set)
        yield EVENTS[0]
        gone.wait(5)

    target = serve(InvokeStream=hang)
    if client_kind == "blocking":
        with DagInferenceClient(target) as client:
            with closing(client.stream("iris")) as events:
                next(events)
            assert gone.wait(5)
    else:
        async with AsyncDagInferenceClient(target) as aio:
            async with aclosing(aio.stream("iris")) as events_aio:
                await anext(events_aio)
            assert await asyncio.to_thread(gone.wait, 5)
