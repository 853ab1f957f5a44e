"""What the gateway asks of Airflow while calls wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Asked, Dag, FakeAirflow, Kind, steps
from integration.gateway import Gateway
from integration.waiting import eventually, first_run, never

POLLS = 10


@pytest.mark.parametrize("calls", [1, 200])
async def test_one_poll_serves_all(airflow: FakeAirflow, gateway: Gateway, calls: int) -> None:
    """A poll is two requests, and nothing else is asked, however many calls wait."""
    await gateway.ready()
    airflow.add(Dag("dag"))
    waiting = [asyncio.create_task(_invoke(gateway)) for _ in range(calls)]
    await eventually(lambda: len(airflow.made) == calls, timeout=20)
    # The last trigger, and the poll that goes with it, may still be under way.
    await airflow.polls(2)
    start = len(airflow.asked)
    await airflow.polls(POLLS)

    asked = airflow.asked[start:]
    assert {request.kind for request in asked} == {Kind.RUNS, Kind.INSTANCES}
    polls = _polls(asked)
    assert 2 * POLLS - 3 <= len(polls) <= 2 * POLLS + 1
    assert {query["offset"][0] for query in polls} == {"0"}
    # Runs are looked for by id as well: a page of them, ever so often.
    assert len(asked) - len(polls) <= 3
    for run in airflow.made:
        run.finish("predict", 1)
    await asyncio.gather(*waiting)


async def test_unary_calls_ask_for_ends_alone(airflow: FakeAirflow, gateway: Gateway) -> None:
    """States on the way are polled while a stream is open, and not for unary calls."""
    airflow.add(Dag("dag"))
    unary = asyncio.create_task(_invoke(gateway))
    await eventually(lambda: airflow.count(Kind.INSTANCES) > POLLS)
    assert _states_polled(airflow) == 0

    stream = gateway.stub.InvokeStream(pb.InvokeRequest(dag_id="dag"), timeout=10)
    await eventually(lambda: _states_polled(airflow) > 2)
    stream.cancel()

    await airflow.polls(2)
    polled = _states_polled(airflow)
    await airflow.polls(POLLS)
    assert _states_polled(airflow) == polled
    for run in airflow.made:
        run.finish("predict", 1)
    await unary


async def test_nothing_in_flight_nothing_asked(airflow: FakeAirflow, gateway: Gateway) -> None:
    """No requests before the first call, and none after the last one."""
    await gateway.ready()
    start = len(airflow.asked)
    await never(lambda: len(airflow.asked) > start, within=0.3)
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))

    await _invoke(gateway)

    await airflow.silence()


@pytest.mark.parametrize("settings", [{"poll_interval_max": 60, "default_deadline": 60}], ids=[""])
async def test_old_runs_do_not_slow_young_ones(airflow: FakeAirflow, gateway: Gateway) -> None:
    """With a run of an hour in flight, polls are a minute apart, until a new run comes."""
    dag = airflow.add(Dag("dag"))
    request = pb.InvokeRequest(dag_id="dag", request_id="mine")
    first = gateway.stub.Invoke(request)
    old = await first_run(dag)
    first.cancel()
    await airflow.silence()
    old.run_after -= timedelta(hours=1)
    old.queued_at = old.run_after
    attached = gateway.stub.Invoke(request)
    await eventually(lambda: airflow.count(Kind.RUN))
    await airflow.silence()

    young = asyncio.create_task(_invoke(gateway))
    await eventually(lambda: len(dag.made) == 2)
    dag.made[1].finish("predict", "young")

    response = await asyncio.wait_for(young, 5)
    assert MessageToDict(response.result) == {"return_value": "young"}
    old.finish("predict", "old")
    attached.cancel()


async def test_an_hour_apart(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Airflow's clock decides, however far ours is from it."""
    for hours in (2, -2):
        airflow.clock.ahead = timedelta(hours=hours)
        dag = airflow.add(Dag(f"dag{hours}"))
        answer = asyncio.create_task(_invoke(gateway, dag.dag_id))
        run = await first_run(dag)
        await airflow.polls(3)
        run.finish("predict", 1)
        await answer


async def test_more_than_a_page(airflow: FakeAirflow, gateway: Gateway) -> None:
    """What ends at once is found, also when it fills several pages."""
    airflow.add(Dag("dag"))
    waiting = [asyncio.create_task(_invoke(gateway)) for _ in range(130)]
    await eventually(lambda: len(airflow.made) == 130, timeout=20)
    for number, run in enumerate(airflow.made):
        run.finish("predict", run.run_id)
        if number % 2:
            run.end("success")

    responses = await asyncio.gather(*waiting)

    assert all(
        MessageToDict(response.result) == {"return_value": response.run.run_id}
        for response in responses
    )


@pytest.mark.parametrize("settings", [{"run_id_prefix": "a.b-c"}], ids=[""])
async def test_runs_of_others(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Runs are named with the prefix, polls ask for it, and runs of others do not disturb."""
    dag = airflow.add(Dag("dag"))
    dag.trigger("scheduled__1", {}).fail("predict")
    dag.trigger("a.b-c-by-another-replica", {}).fail("predict")

    answer = asyncio.create_task(_invoke(gateway))
    run = await eventually(lambda: dag.made[2] if len(dag.made) == 3 else None)
    assert run
    await eventually(lambda: airflow.count(Kind.INSTANCES) > POLLS)
    run.finish("predict", 1)
    await answer

    assert run.run_id.startswith("a.b-c-")
    prefixes = {query["run_id_prefix_pattern"][0] for query in _polls(airflow.asked)}
    assert prefixes == {"a.b-c"}


async def _invoke(gateway: Gateway, dag_id: str = "dag") -> pb.InvokeResponse:
    return await gateway.stub.Invoke(pb.InvokeRequest(dag_id=dag_id), timeout=30)


def _polls(asked: Sequence[Asked]) -> list[Mapping[str, Sequence[str]]]:
    """The queries of the polls, which ask for what changed."""
    queries = (a.request.query for a in asked if a.kind in (Kind.RUNS, Kind.INSTANCES))
    return [query for query in queries if "updated_at_gte" in query]


def _states_polled(airflow: FakeAirflow) -> int:
    return sum("state" not in query for query in _polls(airflow.asked))
