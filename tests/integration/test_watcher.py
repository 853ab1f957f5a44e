"""What the gateway asks of Airflow while calls wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import grpc
import pytest
import structlog
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Asked, Dag, FakeAirflow, Kind, faults, steps
from integration.cases import ROUNDS
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.waiting import eventually, first_run, never

POLLS = 10


@pytest.mark.parametrize("calls", [1, 200])
async def test_one_poll_serves_all(airflow: FakeAirflow, gateway: Gateway, calls: int) -> None:
    """A look is one listing of task instances, and twice a second one of runs, too.

    Nothing else is asked, however many calls wait, but now and then for Airflow's health.
    """
    await gateway.ready()
    airflow.add(Dag("dag"))
    waiting = [asyncio.create_task(_invoke(gateway)) for _ in range(calls)]
    await eventually(lambda: len(airflow.made) == calls)
    # The last trigger, and the poll that goes with it, may still be under way.
    await airflow.polls(2)
    start = len(airflow.asked)
    await airflow.polls(POLLS)

    asked = [each for each in airflow.asked[start:] if each.kind is not Kind.HEALTH]
    kinds = Counter(request.kind for request in asked)
    assert POLLS - 1 <= kinds[Kind.INSTANCES] <= POLLS + 1
    assert kinds[Kind.RUNS] < POLLS / 2
    assert {query["offset"][0] for query in _polls(asked)} == {"0"}
    assert len(_polls(asked)) == len(asked)
    for run in airflow.made:
        run.finish("predict", 1)
    await asyncio.gather(*waiting)


async def test_the_end_of_a_run_that_somebody_waits_for(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """While the end of a run is what a call waits for, runs are listed at every look."""
    airflow.add(Dag("dag"))
    airflow.add(Dag("unknown", source=None))
    calls = [asyncio.create_task(_invoke(gateway, dag_id)) for dag_id in ("dag", "unknown")]
    await eventually(lambda: len(airflow.made) == 2)
    await airflow.polls(2)
    start = len(airflow.asked)
    await airflow.polls(POLLS)

    kinds = Counter(request.kind for request in airflow.asked[start:])
    assert abs(kinds[Kind.RUNS] - kinds[Kind.INSTANCES]) <= 1
    for run in airflow.made:
        run.finish("predict", 1)
        run.end("success")
    await asyncio.gather(*calls)


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


async def test_nothing_is_written_but_runs(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Beside logins and triggers all is GET: listing by POST would leave an audit row a time."""
    dag = airflow.add(Dag("dag"))
    calls = [asyncio.create_task(_invoke(gateway)) for _ in range(3)]
    stream = gateway.stub.InvokeStream(pb.InvokeRequest(dag_id="dag"), timeout=10)
    await eventually(lambda: len(dag.made) == 4)
    await airflow.polls(POLLS)
    for run in dag.made:
        run.finish("predict", 1)
    await asyncio.gather(*calls)
    assert [event async for event in stream]

    written = [asked.kind for asked in airflow.asked if asked.request.method != "GET"]
    assert written.count(Kind.TRIGGER) == 4
    assert set(written) == {Kind.TRIGGER, Kind.TOKEN}


async def test_nothing_in_flight_nothing_asked(airflow: FakeAirflow, gateway: Gateway) -> None:
    """No requests before the first call, and none after the last one.

    Beside one look for unfinished runs, when it starts and then every minute.
    """
    await gateway.ready()
    await eventually(lambda: airflow.count(Kind.RUNS))
    start = len(airflow.asked)
    await never(lambda: len(airflow.asked) > start, within=0.3)
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))

    await _invoke(gateway)

    await airflow.silence()


@pytest.mark.parametrize("settings", [ROUNDS], ids=[""])
async def test_old_runs_are_read_by_id(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A run of a month is read by its id, in its DAG, and no listing reaches back to it."""
    dag = airflow.add(Dag("dag"))
    request = pb.InvokeRequest(dag_id="dag", request_id="mine")
    first = gateway.stub.Invoke(request)
    old = await first_run(dag)
    first.cancel()
    await airflow.silence()
    old.run_after -= timedelta(days=30)
    old.queued_at = old.run_after
    start = len(airflow.asked)
    attached = asyncio.create_task(_call(gateway, request))
    young = asyncio.create_task(_invoke(gateway))
    await eventually(lambda: len(dag.made) == 2)
    await airflow.polls(POLLS)

    listings = [a for a in airflow.asked[start:] if a.kind is Kind.INSTANCES]
    named = {a.request.query["run_id_prefix_pattern"][0] for a in listings if a.dag_id == "dag"}
    assert old.run_id in named
    others = [a.request.query["run_after_gte"][0] for a in listings if a.dag_id == "~"]
    assert min(map(datetime.fromisoformat, others)) > old.run_after + timedelta(days=29)
    dag.made[1].finish("predict", "young")
    assert MessageToDict((await young).result) == {"return_value": "young"}
    assert not attached.done()
    old.finish("predict", "old")
    assert MessageToDict((await attached).result) == {"return_value": "old"}


@pytest.mark.parametrize("settings", [ROUNDS], ids=[""])
async def test_old_runs_alone_are_not_polled_for(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Only rounds go on, in which each run is asked for once."""
    dag = airflow.add(Dag("dag"))
    old = [dag.trigger(ours(str(number)), {}) for number in range(120)]
    for run in old:
        run.run_after -= timedelta(hours=2)
    requests = [pb.WaitRequest(dag_id="dag", run_id=run.run_id) for run in old]
    waiting = [asyncio.create_task(_wait(gateway, request)) for request in requests]
    await eventually(lambda: airflow.count(Kind.RUN) == 120)
    await airflow.polls(3)
    start = len(airflow.asked)
    await airflow.polls(6)

    named = [
        a.request.query["run_id_prefix_pattern"][0].split("|")
        for a in airflow.asked[start:]
        if a.kind is Kind.INSTANCES
    ]
    assert {len(ids) for ids in named} == {100, 20}
    assert {run_id for ids in named for run_id in ids} == {run.run_id for run in old}
    old[7].delete()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await waiting.pop(7)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    for run in (*old[:7], *old[8:]):
        run.finish("predict", 1)
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("settings", [ROUNDS], ids=[""])
async def test_a_dag_whose_old_runs_cannot_be_read(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It keeps the rounds from no other: not from old runs, not from young ones."""
    dags = [airflow.add(Dag(name)) for name in ("a", "b", "c")]
    runs = [dag.trigger(ours(str(dag.dag_id)), {}) for dag in dags]
    for run in runs[:2]:
        run.run_after -= timedelta(hours=2)
    requests = [pb.WaitRequest(dag_id=run.dag.dag_id, run_id=run.run_id) for run in runs]
    waiting = [asyncio.create_task(_wait(gateway, request)) for request in requests]
    await eventually(lambda: all(airflow.was_read(run.run_id) for run in runs))
    airflow.faults.add(faults.html(500), Kind.INSTANCES, dag_id="a")
    runs[1].finish("predict", "old")
    runs[2].delete()

    assert MessageToDict((await waiting[1]).result) == {"return_value": "old"}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await waiting[2]
    assert caught.value.code() is grpc.StatusCode.ABORTED
    airflow.faults.clear()
    runs[0].finish("predict", "at last")
    assert MessageToDict((await waiting[0]).result) == {"return_value": "at last"}


@pytest.mark.parametrize("settings", [ROUNDS], ids=[""])
async def test_rounds_that_fail(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Are told once, however many of them there are."""
    written = structlog.testing.CapturingLogger()
    monkeypatch.setattr("dag_inference_server.watcher.rounds.log", written)
    dag = airflow.add(Dag("dag"))
    call = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    airflow.faults.add(faults.refused(503), Kind.DAG)
    asked = airflow.count(Kind.DAG)
    # Four are the tries of one round.
    await eventually(lambda: airflow.count(Kind.DAG) > asked + 3 * 4)
    run.finish("predict", 1)
    await call

    failed = [line.kwargs for line in written.calls if line.args == ("airflow_round_failed",)]
    assert failed == [{"error": "AIRFLOW_UNAVAILABLE: Airflow answers 503"}]


@pytest.mark.parametrize("settings", [ROUNDS], ids=[""])
async def test_a_pause_costs_the_calls_of_a_busy_dag_nothing(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """Runs that started before are looked for in the rounds, not by every call for itself."""
    dag = airflow.add(Dag("dag"))
    calls = [asyncio.create_task(_invoke(gateway)) for _ in range(130)]
    await eventually(lambda: len(dag.made) == 130)
    for run in dag.made:
        run.begin("predict")
    dag.is_paused = True
    start, before = len(airflow.asked), airflow.count(Kind.DAG)
    await eventually(lambda: airflow.count(Kind.DAG) > before)
    await airflow.polls(POLLS)

    asked = Counter(request.kind for request in airflow.asked[start:])
    assert airflow.count(Kind.RUN) == 0
    # However long that took: a round that asks for the DAG then lists by id what might be stuck.
    assert asked[Kind.DAG] <= asked[Kind.INSTANCES]
    assert asked[Kind.DAG] < len(calls)
    for run in dag.made:
        run.finish("predict", 1)
    await asyncio.gather(*calls)


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
    await eventually(lambda: len(airflow.made) == 130)
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
    return await _call(gateway, pb.InvokeRequest(dag_id=dag_id))


async def _call(gateway: Gateway, request: pb.InvokeRequest) -> pb.InvokeResponse:
    return await gateway.stub.Invoke(request, timeout=100)


async def _wait(gateway: Gateway, request: pb.WaitRequest) -> pb.InvokeResponse:
    return await gateway.stub.Wait(request, timeout=100)


def _polls(asked: Sequence[Asked]) -> list[Mapping[str, Sequence[str]]]:
    """The queries of the polls, which ask for what changed in any DAG."""
    kinds = (Kind.RUNS, Kind.INSTANCES)
    return [a.request.query for a in asked if a.kind in kinds and a.dag_id == "~"]


def _states_polled(airflow: FakeAirflow) -> int:
    return sum("state" not in query for query in _polls(airflow.asked))
