"""`run_timeout` bounds the run itself, whoever waits for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, faults
from integration.gateway import Gateway, running, settings_for
from integration.run_ids import ours
from integration.statuses import failure
from integration.waiting import eventually, first_run, never


def request(milliseconds: int, request_id: str = "") -> pb.InvokeRequest:
    """A call with a bound for its run."""
    limit = Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)
    return pb.InvokeRequest(dag_id="dag", run_timeout=limit, request_id=request_id)


async def test_a_run_that_takes_longer(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It is ended, its note says why, and who waits is told RUN_TIMED_OUT."""
    dag = airflow.add(Dag("dag"))

    failed = await failure(gateway.stub.Invoke(request(300), timeout=10))

    run = dag.made[0]
    assert (failed.code, failed.reason) == (StatusCode.ABORTED, "RUN_TIMED_OUT")
    assert "run_timeout" in failed.message
    assert run.state == "failed"
    assert run.note == "dag-inference: ended by its run_timeout of 0.3 s"
    assert run.end_date
    assert run.queued_at
    assert run.end_date - run.queued_at >= timedelta(seconds=0.3)


async def test_the_note_says_until_when(airflow: FakeAirflow, gateway: Gateway) -> None:
    """For people, and for every gateway with the prefix; a run in time keeps it."""
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(request(3_600_000), timeout=10)
    run = await first_run(dag)
    assert run.note == "dag-inference: run_timeout 3600 s, counted from when the run was queued"

    run.finish("predict", 1)

    assert MessageToDict((await call).result) == {"return_value": 1}
    assert airflow.count(Kind.PATCH_RUN) == 0


async def test_nobody_waits_any_more(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The run is ended all the same."""
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(request(2000), timeout=10)
    run = await first_run(dag)
    await airflow.polls(2)

    call.cancel()

    await eventually(lambda: run.state == "failed")


@pytest.mark.parametrize("sees", ["all DAGs at once", "each DAG by itself", "not every DAG"])
async def test_after_a_restart(airflow: FakeAirflow, sees: str) -> None:
    """The gateway that made the run is gone, and the next one with its prefix ends it.

    A run of another prefix, without a limit, or with one that is not over, goes on. The account
    need not be granted a listing over all DAGs, nor every DAG that it sees.
    """
    dag = airflow.add(Dag("dag"))
    airflow.add(Dag("another"))
    if sees != "all DAGs at once":
        airflow.faults.add(faults.refused(403, "Forbidden"), Kind.RUNS, dag_id="~")
    if sees == "not every DAG":
        airflow.faults.add(faults.refused(403, "Forbidden"), Kind.RUNS, dag_id="another")
    async with running(settings_for(airflow)) as gateway:
        call = gateway.stub.Invoke(request(3000), timeout=10)
        run = await first_run(dag)
        await airflow.polls(1)
        call.cancel()
    others = [
        dag.trigger(ours("2"), {}),
        dag.trigger(ours("3"), {}, note=str(run.note).replace("3 s", "3000 s")),
        dag.trigger("grpcs-4", {}, note=run.note),
        dag.trigger("manual__1", {}, note=run.note),
    ]
    assert run.state == "queued"

    async with running(settings_for(airflow)):
        await eventually(lambda: run.state == "failed")
        await airflow.silence()

    assert {other.state for other in others} == {"queued"}


async def test_the_first_call_counts(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A call that attaches by its request id changes no limit, and makes none."""
    dag = airflow.add(Dag("dag"))
    first = asyncio.create_task(failure(gateway.stub.Invoke(request(500, "mine"), timeout=10)))
    await first_run(dag)

    second = await failure(gateway.stub.Invoke(request(60_000, "mine"), timeout=10))

    assert second.reason == (await first).reason == "RUN_TIMED_OUT"
    assert len(dag.made) == 1


async def test_a_run_that_is_cleared(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Its time begins anew, with its new start."""
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(request(1000), timeout=10)
    run = await first_run(dag)
    assert run.queued_at
    run.queued_at += timedelta(seconds=1000)

    await never(lambda: airflow.count(Kind.PATCH_RUN), within=1.5)

    run.finish("predict", 1)
    await call


async def test_a_note_that_somebody_took_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A person may lift the limit, by changing the note."""
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(request(500), timeout=10)
    run = await first_run(dag)
    run.note = "let it run"

    await never(lambda: airflow.count(Kind.PATCH_RUN), within=1)

    run.finish("predict", 1)
    await call


async def test_a_note_that_somebody_wrote(airflow: FakeAirflow) -> None:
    """No note can keep a gateway from its work, not even at its start."""
    dag = airflow.add(Dag("dag"))
    for number, limit in enumerate(("99999999", "9" * 30, "-1", "1e9")):
        dag.trigger(ours(str(number)), {}, note=f"dag-inference: run_timeout {limit} s")

    async with running(settings_for(airflow)) as gateway:
        failed = await failure(gateway.stub.Invoke(request(300), timeout=10))

    assert failed.reason == "RUN_TIMED_OUT"
    assert [run.state for run in dag.made] == ["queued"] * 4 + ["failed"]


async def test_airflow_is_away_at_the_time(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The run is ended once Airflow answers again, and other runs are not held up for long."""
    dag = airflow.add(Dag("dag"))
    call = asyncio.create_task(failure(gateway.stub.Invoke(request(300), timeout=20)))
    run = await first_run(dag)
    airflow.faults.add(faults.database_error(), Kind.RUN)
    await eventually(lambda: airflow.count(Kind.RUN) > 2)

    airflow.faults.clear()

    assert (await call).reason == "RUN_TIMED_OUT"
    assert run.state == "failed"
