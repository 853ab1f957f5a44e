"""Trouble on the way to a result that the caller does not notice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults, steps
from integration.gateway import Gateway
from integration.scraping import scrape
from integration.statuses import failure
from integration.waiting import eventually, first_run

BEFORE_THE_RUN = (Kind.DAG, Kind.TASKS, Kind.SOURCE, Kind.TRIGGER)
AFTER_IT = (Kind.RUNS, Kind.INSTANCES, Kind.VALUE, Kind.INSTANCE)
DONE = [steps.finish("predict", {"a": 1}), steps.end()]

PASSING = {
    "database error": faults.database_error(),
    "502 with a page": faults.html(502),
    "503": faults.refused(503),
    "429": faults.refused(429),
    "redirect": faults.redirected(),
    "closed": faults.dropped(),
    "answer lost": faults.lost(),
    "answer cut off": faults.cut_off(),
    "no answer": faults.hanging(),
}
BROKEN = {
    "page of a proxy": faults.html(200),
    "nothing": faults.empty(),
    "answer garbled": faults.garbled(),
    "half an answer": faults.truncated(),
    "a list": faults.answered(b"[]"),
    "another object": faults.answered(b"{}"),
}
REFUSALS = {
    "400": faults.refused(400),
    "405": faults.refused(405, "Method Not Allowed"),
    "409": faults.refused(409),
    "422": faults.refused(422, [{"msg": "Input should be a valid string"}]),
}


@pytest.mark.parametrize("settings", [{"airflow_timeout": 0.2}], ids=[""])
@pytest.mark.parametrize("name", PASSING)
async def test_passing_trouble(airflow: FakeAirflow, gateway: Gateway, name: str) -> None:
    """Any request may go wrong twice: the call succeeds, with one run."""
    await _all_succeed(airflow, gateway, PASSING[name], (*BEFORE_THE_RUN, *AFTER_IT))


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_answers(airflow: FakeAirflow, gateway: Gateway, name: str) -> None:
    """Once the run exists, broken answers are asked for again."""
    await _all_succeed(airflow, gateway, BROKEN[name], AFTER_IT)


@pytest.mark.parametrize("name", REFUSALS)
async def test_no_answer_is_a_bug_of_the_gateway(
    airflow: FakeAirflow, gateway: Gateway, name: str
) -> None:
    """Whatever Airflow or a proxy answers, it is not the gateway's own fault."""
    kinds = [Kind.DAG, Kind.TASKS, Kind.SOURCE, Kind.VALUE, Kind.INSTANCE]
    for kind in kinds:
        airflow.add(Dag(kind.value, script=DONE))
        airflow.faults.add(REFUSALS[name], kind, dag_id=kind)

    calls = [gateway.stub.Invoke(pb.InvokeRequest(dag_id=kind), timeout=2) for kind in kinds]
    failures = [await failure(call) for call in calls]

    # The caller's own clock gives no reason.
    reasons = {failed.reason or failed.code.name for failed in failures}
    assert reasons <= {"AIRFLOW_UNAVAILABLE", "DEADLINE_EXCEEDED"}


@pytest.mark.parametrize("settings", [{"airflow_timeout": 1}], ids=[""])
async def test_slow_answers(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Each takes a while, within AIRFLOW_TIMEOUT: calls take longer, and get their own results."""
    airflow.faults.add(faults.delayed(0.1))
    numbers = range(4)
    for n in numbers:
        airflow.add(Dag(f"dag{n}", script=[steps.finish("predict", {"a": n}), steps.end()]))
    airflow.add(Dag("fails", script=[steps.fail("predict")]))

    responses = await asyncio.gather(*(_invoke(gateway, f"dag{n}") for n in numbers))
    failed = await failure(_invoke(gateway, "fails"))

    assert [MessageToDict(response.result) for response in responses] == [{"a": n} for n in numbers]
    assert failed.reason == "TASK_FAILED"
    assert len(airflow.made) == len(numbers) + 1
    triggers = "dag_inference_airflow_request_seconds_sum"
    assert (await scrape(gateway))(triggers, operation="POST /dags/{}/dagRuns") > 0.1 * 5


async def test_not_found_by_somebody_else(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A value is null when Airflow says that there is no XCom, not when a path leads nowhere."""
    airflow.add(Dag("dag", script=DONE))
    airflow.faults.add(faults.refused(404, "Not Found"), Kind.VALUE, times=2)

    assert MessageToDict((await _invoke(gateway)).result) == {"a": 1}


@pytest.mark.parametrize("date", ["Mon, 01 Jan 2024 00:00:00 -0000", "yesterday", ""])
async def test_odd_dates(airflow: FakeAirflow, gateway: Gateway, date: str) -> None:
    """A date header that is none, or has no zone, does not matter."""
    airflow.add(Dag("dag", script=DONE))
    airflow.faults.add(faults.with_header("date", date))

    assert MessageToDict((await _invoke(gateway)).result) == {"a": 1}


async def test_token_expires(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A token that expires while calls wait is renewed, once for all of them."""
    await gateway.ready()
    dags = [airflow.add(Dag(f"dag{n}")) for n in range(5)]
    calls = [asyncio.create_task(_invoke(gateway, dag.dag_id)) for dag in dags]
    await eventually(lambda: len(airflow.made) == 5)
    assert airflow.count(Kind.TOKEN) == 1

    airflow.accounts.expire()
    for run in airflow.made:
        run.finish("predict", 1)
    await asyncio.gather(*calls)

    assert airflow.count(Kind.TOKEN) == 2


async def test_outage_of_the_polls(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Polls that fail for a while fail no call: what was missed is found afterwards."""
    dag = airflow.add(Dag("dag"))
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    airflow.faults.add(faults.refused(503), Kind.RUNS)
    airflow.faults.add(faults.dropped(), Kind.INSTANCES)
    run.finish("predict", {"a": 1})
    run.end("success")
    asked = airflow.count(Kind.INSTANCES)
    await eventually(lambda: airflow.count(Kind.INSTANCES) > asked + 5)
    assert not answer.done()

    airflow.faults.clear()

    assert MessageToDict((await answer).result) == {"a": 1}


async def test_airflow_restarts(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Airflow may go away and come back while calls wait."""
    dag = airflow.add(Dag("dag"))
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    await airflow.stop()
    run.finish("predict", {"a": 1})
    await airflow.start()

    assert MessageToDict((await answer).result) == {"a": 1}


@pytest.mark.parametrize("moment", ["before its value is read", "after its value was read"])
async def test_cleared_result(airflow: FakeAirflow, gateway: Gateway, moment: str) -> None:
    """A result task that is cleared before its value is read and checked: the next value counts."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", "old")]))
    cleared = asyncio.Event()

    def clear() -> None:
        dag.made[0].clear("predict")
        dag.made[0].begin("predict")
        cleared.set()

    timed = faults.just_before if moment.startswith("before") else faults.just_after
    airflow.faults.add(timed(clear), Kind.VALUE, times=1)
    airflow.faults.add(faults.held_until(cleared), Kind.INSTANCE, times=1)
    answer = asyncio.create_task(_invoke(gateway))
    await eventually(lambda: airflow.count(Kind.INSTANCE))
    await airflow.polls(3)
    assert not answer.done()

    dag.made[0].finish("predict", "new")

    assert MessageToDict((await answer).result) == {"return_value": "new"}


async def test_cleared_failure(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A task that was cleared before its failure was looked into has not failed."""
    dag = airflow.add(Dag("dag", script=[steps.fail("predict")]))
    airflow.faults.add(
        faults.just_before(lambda: dag.made[0].clear("predict")), Kind.RUN_INSTANCES, times=1
    )
    answer = asyncio.create_task(_invoke(gateway))
    await eventually(lambda: airflow.count(Kind.RUN_INSTANCES))
    await airflow.polls(3)
    assert not answer.done()

    dag.made[0].finish("predict", "new")

    assert MessageToDict((await answer).result) == {"return_value": "new"}


async def test_retried_task(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A try that failed and will be repeated is no failure."""
    dag = airflow.add(Dag("dag", script=[steps.retry("predict")]))
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    await airflow.polls(3)
    assert not answer.done()

    run.finish("predict", 1)

    assert MessageToDict((await answer).result) == {"return_value": 1}


async def test_failing_side_branch(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A failure that the result does not depend on fails no call, though the run fails."""
    tasks = Task("predict", is_result=True), Task("side")
    script = [steps.finish("predict", 1), steps.fail("side"), steps.end("failed")]
    airflow.add(Dag("dag", *tasks, script=script))

    response = await _invoke(gateway)

    assert airflow.made[0].state == "failed"
    assert MessageToDict(response.result) == {"return_value": 1}


async def _invoke(gateway: Gateway, dag_id: str = "dag") -> pb.InvokeResponse:
    return await gateway.stub.Invoke(pb.InvokeRequest(dag_id=dag_id), timeout=10)


async def _all_succeed(
    airflow: FakeAirflow, gateway: Gateway, fault: faults.Fault, kinds: tuple[Kind, ...]
) -> None:
    for kind in kinds:
        airflow.add(Dag(kind.value, script=DONE))
        # A poll is about every DAG, so its trouble is everybody's.
        polled = kind in (Kind.RUNS, Kind.INSTANCES)
        airflow.faults.add(fault, kind, times=2, dag_id=None if polled else kind)

    responses: list[Any] = await asyncio.gather(*(_invoke(gateway, kind) for kind in kinds))

    assert [MessageToDict(response.result) for response in responses] == [{"a": 1}] * len(kinds)
    assert len(airflow.made) == len(kinds)
