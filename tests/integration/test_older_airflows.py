"""What an Airflow lacks is replaced by the next best way: its version tells, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest
import structlog
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.cases import ROUNDS
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.waiting import eventually, first_run

EVERY = pytest.mark.parametrize("version", ["3.1.0", "3.1.8", "3.2.1", "3.2.2", "3.3.2"])
OLD = pytest.mark.parametrize("version", ["3.1.8", "3.2.1"])


async def _invoke(gateway: Gateway, dag_id: str = "dag") -> object:
    response = await gateway.stub.Invoke(pb.InvokeRequest(dag_id=dag_id), timeout=60)
    return MessageToDict(response.result)["return_value"]


@EVERY
async def test_many_calls_among_many_runs(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Each call gets its own run's result, whatever else ends in this Airflow meanwhile."""
    dag = airflow.add(Dag("dag"))
    for number in range(250):
        dag.trigger(f"scheduled__{number}", {}).fail("predict")
    waiting = [asyncio.create_task(_invoke(gateway)) for _ in range(20)]
    await eventually(lambda: len(dag.made) == 270)
    for run in dag.made[250:]:
        run.finish("predict", run.run_id)

    assert sorted(map(str, await asyncio.gather(*waiting))) == [
        run.run_id for run in sorted(dag.made[250:], key=lambda run: run.run_id)
    ]


@EVERY
@pytest.mark.parametrize("settings", [ROUNDS], ids=[""])
@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=3)], ids=["young", "old"])
async def test_a_run_that_is_deleted(
    airflow: FakeAirflow, gateway: Gateway, age: timedelta
) -> None:
    """It is missed by the rounds, and the runs beside it are not."""
    dag = airflow.add(Dag("dag"))
    runs = [dag.trigger(ours(str(number)), {}) for number in range(15)]
    for run in runs:
        run.run_after -= age
    calls = [
        gateway.stub.Wait(pb.WaitRequest(dag_id="dag", run_id=run.run_id), timeout=60)
        for run in runs
    ]
    await eventually(lambda: all(airflow.was_read(run.run_id) for run in runs))
    runs[3].delete()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calls[3]

    assert caught.value.code() is grpc.StatusCode.ABORTED
    for run in (*runs[:3], *runs[4:]):
        run.finish("predict", 1)
    await asyncio.gather(*calls[:3], *calls[4:])


@EVERY
async def test_a_stream_beside_unary_calls(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A stream shows the states of its own run, and no others."""
    dag = airflow.add(Dag("dag"))
    unary = asyncio.create_task(_invoke(gateway))
    other = await first_run(dag)
    stream = gateway.stub.InvokeStream(pb.InvokeRequest(dag_id="dag"), timeout=60)
    events = aiter(stream)
    run = dag.runs[(await anext(events)).accepted.run.run_id]
    other.begin("predict")
    run.begin("predict")
    states = [await _next_state(events)]
    run.finish("predict", "mine")
    while state := await _next_state(events):
        states.append(state)
    other.finish("predict", "other")

    assert states == [pb.TASK_INSTANCE_STATE_RUNNING, pb.TASK_INSTANCE_STATE_SUCCESS]
    assert await unary == "other"


async def _next_state(events: AsyncIterator[pb.InvokeStreamResponse]) -> int | None:
    """The next state of a task instance; `None` after the last one."""
    async for event in events:
        if event.WhichOneof("event") == "task_instance":
            return event.task_instance.state
    return None


@OLD
async def test_what_is_asked_instead(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Runs by a part of their id, which this Airflow would ignore for several runs at once."""
    dag = airflow.add(Dag("dag"))
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    await airflow.polls(10)
    run.finish("predict", 1)
    await answer

    kinds = (Kind.RUNS, Kind.INSTANCES)
    queries = [asked.request.query for asked in airflow.asked if asked.kind in kinds]
    assert {query["run_id_pattern"][0] for query in queries} == {"grpc"}
    assert not any("run_id_prefix_pattern" in query for query in queries)


@EVERY
async def test_the_version_is_asked_for_once(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Not by every poll; once more by the gateway's start, which may come first."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    await airflow.polls(10)
    run.finish("predict", 1)
    await answer

    assert airflow.count(Kind.VERSION) <= 2


@pytest.fixture
def refuses_all_dags(airflow: FakeAirflow) -> None:
    """The account may not list over all DAGs."""
    for kind in (Kind.RUNS, Kind.INSTANCES):
        airflow.faults.add(faults.refused(403, "Forbidden"), kind, dag_id="~")


@pytest.mark.usefixtures("refuses_all_dags")
@pytest.mark.parametrize("fault", [faults.refused(403, "Forbidden"), faults.html(502)])
async def test_an_account_that_sees_some_dags(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, fault: faults.Fault
) -> None:
    """Each DAG with calls is asked for, and one that gives no answer keeps no other waiting.

    The log has it once. What happened in it meanwhile is heard of as soon as it answers again.
    """
    written = structlog.testing.CapturingLogger()
    monkeypatch.setattr("dag_inference_server.airflow.listings.log", written)
    dags = [airflow.add(Dag(name)) for name in ("one", "two")]
    answers = [asyncio.create_task(_invoke(gateway, dag.dag_id)) for dag in dags]
    runs = [await first_run(dag) for dag in dags]
    await airflow.polls(4)
    airflow.faults.add(fault, Kind.INSTANCES, dag_id="one")
    for run in runs:
        run.finish("predict", run.dag.dag_id)
    assert await answers[1] == "two"
    await asyncio.gather(*(_invoke_and_finish(airflow, gateway) for _ in range(3)))
    assert not answers[0].done()
    airflow.faults.clear()

    assert await answers[0] == "one"
    failed = [line for line in written.calls if line.args == ("airflow_listing_failed",)]
    assert [line.kwargs["dag_id"] for line in failed] == ["one"]


async def test_a_refusal_that_passes(airflow: FakeAirflow, gateway: Gateway) -> None:
    """What happened while the account was refused everything is heard of afterwards."""
    dag = airflow.add(Dag("dag"))
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    await airflow.polls(3)
    airflow.faults.add(faults.refused(403, "Forbidden"))
    run.finish("predict", 1)
    # Once a look lists runs, too, it is that listing which is refused, and the only one.
    kinds = (Kind.RUNS, Kind.INSTANCES)
    enough = airflow.count(*kinds) + 4
    await eventually(lambda: airflow.count(*kinds) >= enough)
    airflow.faults.clear()

    assert await answer == 1
    # It was not taken for an account that may not list over all DAGs.
    *_, last = (asked for asked in airflow.asked if asked.kind is Kind.INSTANCES)
    assert last.dag_id == "~"


async def _invoke_and_finish(airflow: FakeAirflow, gateway: Gateway) -> None:
    dag = airflow.add(Dag(f"more-{len(airflow.made)}", script=[steps.finish("predict", 1)]))
    assert await _invoke(gateway, dag.dag_id) == 1
