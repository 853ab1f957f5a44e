"""No corner turns a failure into a success, or one value into another."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults, steps
from fakes.airflow.state import TEARDOWN_RULE
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.statuses import failure
from integration.waiting import first_run

LEAF = [steps.finish("predict", {"a": 1}), steps.end()]


def come_back(run_id: str) -> pb.WaitRequest:
    """A request."""
    return pb.WaitRequest(dag_id="dag", run_id=run_id)


async def _invoke(gateway: Gateway, **fields: Any) -> Any:
    response = await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag", **fields), timeout=10)
    return MessageToDict(response.result)


async def test_a_result_task_in_a_mapped_group(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It has map indexes, though Airflow calls it not mapped: all of them are the result."""
    dag = airflow.add(Dag("dag", Task("work"), tags=["result:work"]))
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    run.expand("work", 3)
    run.finish("work", {"i": 1}, 1)
    await airflow.polls(2)
    assert not answer.done()
    run.finish("work", {"i": 0}, 0)
    run.finish("work", {"i": 2}, 2)

    assert await answer == {"return_value": [{"i": 0.0}, {"i": 1.0}, {"i": 2.0}]}


async def test_started_again_while_it_is_read(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A value is read beside the check that it still holds; one that was gone by then is none.

    A task that starts again deletes its value, which then reads as that of a task that returned
    `None`.
    """
    dag = airflow.add(Dag("dag"))
    checked = asyncio.Event()

    def start_again() -> None:
        dag.made[0].clear("predict")
        dag.made[0].begin("predict")
        checked.set()

    airflow.faults.add(faults.held_until(checked), Kind.VALUE, times=1)
    airflow.faults.add(faults.just_after(start_again), Kind.INSTANCE, times=1)
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    run.finish("predict", {"a": 1})
    async with asyncio.timeout(10):
        await checked.wait()
    await airflow.polls(2)
    assert not answer.done()
    run.finish("predict", {"a": 2})

    assert await answer == {"a": 2}


async def test_expanded_anew_to_more(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A mapped result that is cleared and expanded to more waits for the new ones, too."""
    dag = airflow.add(Dag("dag", Task("predict", is_mapped=True)))
    answer = asyncio.create_task(_invoke(gateway))
    run = await first_run(dag)
    run.expand("predict", 2)
    run.finish("predict", 10, 0)
    # The first that ends makes the gateway list them all.
    await airflow.polls(2)
    run.expand("predict", 3)
    run.finish("predict", 11, 1)
    await airflow.polls(2)
    run.finish("predict", 10, 0)
    await airflow.polls(2)
    assert not answer.done()
    run.finish("predict", 12, 2)

    assert await answer == {"return_value": [10.0, 11.0, 12.0]}


async def test_the_leaf_of_another_version(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A run of a version whose result task nobody knows any more gets no empty answer."""
    dag = airflow.add(Dag("dag", Task("predict")))
    run = dag.trigger(ours("before"), {})
    dag.new_version(Task("predict"), Task("more"))
    run.finish("predict", {"a": 1})
    run.end("success")

    failed = await failure(gateway.stub.Wait(come_back(run.run_id), timeout=10))

    assert (failed.code, failed.reason) == (
        StatusCode.FAILED_PRECONDITION,
        "RESULT_TASK_UNKNOWN",
    )
    named = pb.WaitRequest(dag_id="dag", run_id=run.run_id, result_task_ids=["predict"])
    response = await gateway.stub.Wait(named, timeout=10)
    assert MessageToDict(response.result) == {"a": 1}


async def test_what_is_a_teardown_now_was_none_then(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A failed task is not excused by what it became in a newer version."""
    dag = airflow.add(Dag("dag", Task("work"), Task("clean", trigger_rule="all_done")))
    run = dag.trigger(ours("before"), {})
    dag.new_version(Task("work", trigger_rule=TEARDOWN_RULE), Task("clean"))
    run.fail("work")
    run.finish("clean")
    run.end("success")

    failed = await failure(gateway.stub.Wait(come_back(run.run_id), timeout=10))

    assert (failed.reason, failed.metadata["task_id"]) == ("TASK_FAILED", "work")


async def test_parsed_while_it_is_read(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A DAG that is parsed between two looks at it is looked at again: the answer is the same."""
    dag = airflow.add(Dag("dag", script=LEAF))

    def parse() -> None:
        dag.last_parsed_time = dag.clock.now()

    airflow.faults.add(faults.just_before(parse), Kind.TASKS, times=1)

    assert await _invoke(gateway) == {"a": 1}


async def test_skipped_and_nobody_knows_what(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Where the result task is not known, a skipped task may have been it: no empty success."""
    script = [steps.state("predict", "skipped"), steps.end("success")]
    airflow.add(Dag("dag", Task("predict", is_result=True), source=None, script=script))

    failed = await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=10))

    assert failed.reason == "RESULT_SKIPPED"


async def test_errors_that_are_shared_name_each_callers_own_run(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """Calls that fail by one and the same request to Airflow still have their own run ids."""
    dag = airflow.add(Dag("dag"))
    runs = [dag.trigger(ours(str(number)), {}) for number in range(4)]
    await gateway.ready()
    airflow.faults.add(faults.database_error(), Kind.DAG)

    failures = await asyncio.gather(
        *(failure(gateway.stub.Wait(come_back(run.run_id), timeout=10)) for run in runs)
    )

    assert {failed.reason for failed in failures} == {"AIRFLOW_UNAVAILABLE"}
    assert [failed.metadata["run_id"] for failed in failures] == [run.run_id for run in runs]


async def test_skipped_by_a_failure_that_is_still_spreading(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """A result that `fail_fast` skips is told as the failure it was, not as a branch.

    So it is where the event log, which tells the two apart, may not be read.
    """
    airflow.faults.add(faults.refused(403, "Forbidden"), Kind.EVENTS)
    dag = airflow.add(Dag("dag", Task("predict"), Task("side"), tags=["result:predict"]))
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=10)
    waiting = asyncio.create_task(failure(call))
    run = await first_run(dag)
    run.fail("side")
    run.set_state("predict", "skipped")
    await airflow.polls(2)
    assert not waiting.done()
    run.end("failed")

    failed = await waiting
    assert (failed.reason, failed.metadata["task_id"]) == ("TASK_FAILED", "side")


async def test_a_signing_key_that_was_changed(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Airflow says 403 of a token whose key it no longer knows: a new one is fetched."""
    airflow.add(Dag("dag", script=LEAF))
    await gateway.ready()
    tokens = airflow.count(Kind.TOKEN)
    airflow.faults.add(faults.refused(403, "Invalid JWT token"), Kind.DAG, times=1)

    assert await _invoke(gateway) == {"a": 1}
    assert airflow.count(Kind.TOKEN) == tokens + 1


async def test_a_number_that_the_database_writes_in_full(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """A repeated call attaches although PostgreSQL hands 6.022e18 back as an integer."""
    dag = airflow.add(Dag("dag", script=LEAF))
    request = {"conf_json": '{"n": 6.022e18}', "request_id": "mine"}
    await _invoke(gateway, **request)
    dag.made[0].conf = {"n": 6022000000000000000}

    assert await _invoke(gateway, **request) == {"a": 1}
    assert len(dag.made) == 1
