"""While Airflow is away, new calls are told so at once, and those in flight wait for it."""

from __future__ import annotations

import asyncio

from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, faults
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.scraping import scrape
from integration.statuses import failure
from integration.waiting import eventually, first_run, never

REQUEST = pb.InvokeRequest(dag_id="dag")
OPEN = "dag_inference_airflow_breaker_open"


async def until(gateway: Gateway, is_open: bool) -> None:
    """Wait until the breaker is open, or closed."""
    async with asyncio.timeout(20):
        while bool((await scrape(gateway))(OPEN)) != is_open:  # noqa: ASYNC110 - by a scrape each time
            await asyncio.sleep(0.02)


async def test_new_calls_are_refused_at_once(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Without asking Airflow, with the time to come back; all recovers by itself."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(REQUEST, timeout=60)
    run = await first_run(dag)
    await airflow.polls(2)
    airflow.faults.add(faults.database_error())
    await until(gateway, is_open=True)
    asked = airflow.count(Kind.DAG, Kind.TRIGGER, Kind.RUN)

    refused = await failure(gateway.stub.Invoke(REQUEST, timeout=30))
    wait = pb.WaitRequest(dag_id="dag", run_id=ours("1"))
    refused_too = await failure(gateway.stub.Wait(wait, timeout=30))
    counted = await scrape(gateway)

    assert refused.reason == refused_too.reason == "AIRFLOW_UNAVAILABLE"
    assert refused.retry_after
    assert refused_too.metadata["run_id"] == wait.run_id
    assert airflow.count(Kind.DAG, Kind.TRIGGER, Kind.RUN) == asked
    assert counted("dag_inference_rejections_total", reason="airflow_away") == 2
    assert not call.done()

    airflow.faults.clear()
    await until(gateway, is_open=False)
    run.finish("predict", "at last")
    fresh = gateway.stub.Invoke(REQUEST, timeout=30)
    await eventually(lambda: len(dag.made) == 2)
    dag.made[1].finish("predict", "too")

    assert MessageToDict((await call).result) == {"return_value": "at last"}
    assert MessageToDict((await fresh).result) == {"return_value": "too"}


async def test_airflow_hangs(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It takes requests and answers none: new calls are refused, though nothing ever failed."""
    await gateway.ready()
    airflow.add(Dag("dag"))
    airflow.faults.add(faults.hanging())

    async def call() -> None:
        while True:
            await failure(gateway.stub.Invoke(REQUEST, timeout=1))

    calling = [asyncio.create_task(call()) for _ in range(8)]
    await until(gateway, is_open=True)
    for each in calling:
        each.cancel()
    refused = await failure(gateway.stub.Invoke(REQUEST, timeout=30))

    assert refused.reason == "AIRFLOW_UNAVAILABLE"
    assert refused.message == "Airflow has not answered for a while"


async def test_callers_with_little_patience(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Who goes away before Airflow can have answered says nothing of Airflow."""
    await gateway.ready()
    airflow.add(Dag("dag"))
    await eventually(lambda: airflow.count(Kind.HEALTH))
    airflow.faults.add(faults.hanging(), Kind.DAG)
    asked = airflow.count(Kind.DAG)
    unanswered = "dag_inference_airflow_request_seconds_count"

    for _ in range(10):
        await failure(gateway.stub.Invoke(REQUEST, timeout=0.1))

    assert airflow.count(Kind.DAG) > asked
    assert (await scrape(gateway))(unanswered, status="none") == 0


async def test_one_kind_of_request_that_fails(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is not Airflow being away, as long as others are answered."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(REQUEST, timeout=60)
    await first_run(dag)
    airflow.faults.add(faults.database_error(), Kind.VALUE)
    dag.made[0].finish("predict", 1)
    await eventually(lambda: airflow.count(Kind.VALUE) > 5)
    seen: list[float] = []

    async def look() -> None:
        while True:
            seen.append((await scrape(gateway))(OPEN))

    looking = asyncio.create_task(look())
    await never(lambda: any(seen), within=1)
    looking.cancel()
    airflow.faults.clear()

    assert MessageToDict((await call).result) == {"return_value": 1}
