"""A caller that goes away leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.watcher.tracked import Follower, TrackedRun
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.gateway import Gateway, running, settings_for
from integration.statuses import ended
from integration.waiting import eventually

REQUEST = pb.InvokeRequest(dag_id="dag")
WAYS: dict[str, Callable[[Gateway], Any]] = {
    "unary": lambda gateway: gateway.stub.Invoke(REQUEST, timeout=30),
    "stream": lambda gateway: gateway.stub.InvokeStream(REQUEST, timeout=30),
}


def tasks() -> list[str]:
    """What runs in the event loop, the fake's own connections aside."""
    running = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
    return sorted(name for name in running if name != "HttpServer._serve")


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled(airflow: FakeAirflow, gateway: Gateway, way: str) -> None:
    """A call that is cancelled ends: no task goes on, nothing is asked, and the run stays."""
    await gateway.ready()
    # The look for unfinished runs, when it starts.
    await eventually(lambda: airflow.count(Kind.RUNS))
    dag = airflow.add(Dag("dag"))
    before = tasks()
    call = WAYS[way](gateway)
    await eventually(lambda: dag.made)
    await eventually(lambda: airflow.count(Kind.INSTANCES) > 3)

    call.cancel()

    await eventually(lambda: tasks() == before)
    await airflow.silence()
    assert airflow.count(Kind.PATCH_RUN) == 0
    assert dag.made[0].state == "queued"


async def test_ten_thousand_leave_at_once(airflow: FakeAirflow, gateway: Gateway) -> None:
    """No tracked run, no follower and no task is left of callers that all leave together."""
    await gateway.ready()
    await eventually(lambda: airflow.count(Kind.RUNS))
    dag = airflow.add(Dag("dag"))
    before = tasks()
    calls = [WAYS["unary"](gateway) for _ in range(10_000)]
    # Some have their runs by then, some are triggering, and most wait for their turn.
    await eventually(lambda: len(dag.made) > 100)
    assert tracked()

    for call in calls:
        call.cancel()
    await asyncio.gather(*map(ended, calls))

    await eventually(lambda: tasks() == before)
    # A look that is under way may still name one.
    await eventually(lambda: not tracked())
    await airflow.silence()
    answer = asyncio.create_task(_answer(WAYS["unary"](gateway)))
    made = len(dag.made)
    await eventually(lambda: len(dag.made) == made + 1)
    dag.made[-1].finish("predict", 1)
    await answer


def tracked() -> list[object]:
    """What the gateway holds of runs in flight."""
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, TrackedRun | Follower)]


@pytest.mark.parametrize("way", WAYS)
async def test_connection_closed(airflow: FakeAirflow, gateway: Gateway, way: str) -> None:
    """The same when the connection is closed with the call on it."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    channel = grpc.aio.insecure_channel(
        f"127.0.0.1:{gateway.serving.port}", [("grpc.use_local_subchannel_pool", 1)]
    )
    call = asyncio.ensure_future(ended(WAYS[way](replace(gateway, channel=channel))))
    await eventually(lambda: dag.made)
    await eventually(lambda: airflow.count(Kind.INSTANCES) > 3)

    await channel.close()
    await call

    await airflow.silence()
    assert dag.made[0].state == "queued"


@pytest.mark.parametrize("kind", [Kind.DAG, Kind.TASKS, Kind.TRIGGER])
async def test_cancelled_before_the_run(airflow: FakeAirflow, gateway: Gateway, kind: Kind) -> None:
    """A caller that leaves before its run is made takes no other call with it."""
    release = asyncio.Event()
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    airflow.faults.add(faults.held_until(release), kind)
    impatient, patient = WAYS["unary"](gateway), WAYS["unary"](gateway)
    calls = asyncio.gather(ended(impatient), _answer(patient))
    await eventually(lambda: airflow.count(kind))

    impatient.cancel()
    release.set()

    _, response = await calls
    assert MessageToDict(response.result) == {"return_value": 1}
    assert 1 <= len(dag.made) <= 2
    await airflow.silence()


@pytest.mark.parametrize("settings", [{"default_deadline": 0.3}], ids=[""])
async def test_deadline(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The same when the deadline passes."""
    airflow.add(Dag("dag"))

    await ended(gateway.stub.Invoke(REQUEST))

    await airflow.silence()


async def test_gateway_ends(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A gateway that ends with calls on it leaves no task of its own behind."""
    airflow.add(Dag("dag"))
    calls = asyncio.gather(*(ended(way(gateway)) for way in WAYS.values()))
    await eventually(lambda: airflow.count(Kind.TRIGGER) == 2)

    await gateway.serving.server.stop(0)

    await calls
    await airflow.silence()


async def test_connections_end(airflow: FakeAirflow) -> None:
    """A gateway that has ended leaves no connection behind, not even that of a hanging request."""
    airflow.faults.add(faults.hanging(), Kind.TRIGGER)
    airflow.add(Dag("dag"))
    async with running(settings_for(airflow)) as gateway:
        call = asyncio.ensure_future(ended(WAYS["unary"](gateway)))
        await eventually(lambda: airflow.count(Kind.TRIGGER))
        assert airflow.connections
    await call

    await eventually(lambda: not airflow.connections)


async def _answer(call: Any) -> pb.InvokeResponse:
    response: pb.InvokeResponse = await call
    return response
