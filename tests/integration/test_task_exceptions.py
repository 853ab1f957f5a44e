"""The exception of a failed task is told where it can be learnt quickly, and never waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from dag_inference import TaskFailed
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.airflow import AirflowApi, TaskInstance
from dag_inference_server.check import check_airflow
from dag_inference_server.gateway import connect
from dag_inference_server.invocation.report import FailureCodes, FailureReports
from fakes.airflow import Dag, FakeAirflow, Kind, answers, faults, steps
from integration.gateway import Gateway, settings_for
from integration.run_ids import ours
from integration.statuses import Failure, failure

BAD = ValueError("bad input")
FAILS = [steps.fail("predict", raises=BAD)]
TOLD = "task predict failed on try 1: ValueError: bad input"
UNTOLD = "task predict failed on try 1"

NO_LOG = {
    "no answer": faults.hanging(),
    "half an answer, and no more": faults.stalled(),
    "answer cut off": faults.cut_off(),
    "closed": faults.dropped(),
    "502 with a page": faults.html(502),
    "page of a proxy": faults.html(200),
    "redirect": faults.redirected(),
    "nothing": faults.empty(),
    "database error": faults.database_error(),
    "403": faults.refused(403, "Forbidden"),
    "404": faults.refused(404, "TaskInstance not found"),
    "404 of somebody else": faults.refused(404, "Not Found"),
    "400": faults.refused(400, "Task log handler does not support read logs."),
    "422": faults.refused(422, [{"msg": "Input should be a valid integer"}]),
}


async def invoke(gateway: Gateway, dag_id: str = "dag") -> Failure:
    """Call a DAG that fails."""
    return await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id=dag_id), timeout=10))


@pytest.mark.parametrize("name", NO_LOG)
async def test_a_log_that_cannot_be_read(airflow: FakeAirflow, gateway: Gateway, name: str) -> None:
    """The error goes out all the same, without the exception, and the log is asked for once."""
    airflow.add(Dag("dag", script=FAILS))
    airflow.faults.add(NO_LOG[name], Kind.LOG)

    failed = await invoke(gateway)

    assert (failed.code, failed.reason, failed.message) == (
        StatusCode.ABORTED,
        "TASK_FAILED",
        UNTOLD,
    )
    assert failed.metadata.keys() == {"dag_id", "run_id", "run_state", "task_id", "try_number"}
    # aiohttp asks again, once, when a connection that was kept alive turns out to be closed.
    assert airflow.count(Kind.LOG) <= (2 if name == "closed" else 1)


async def test_a_log_of_another_shape(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Lines that are no JSON, or have something else where the exception should be, are no news."""
    airflow.add(Dag("dag", script=FAILS))

    failed = b'"event":"Task failed with exception","error_detail":'
    rows = [b"null", b'"ValueError"', b'["ValueError"]', b'[{"exc_type":1}]', b"[]", b'[{"exc_']
    lines = [b"{%s%s}" % (failed, row) for row in rows]
    odd = b"\n".join([*lines, b"[%s" % failed, b"\xff\xfe"])
    airflow.faults.add(faults.answered(odd), Kind.LOG)

    assert (await invoke(gateway)).message == UNTOLD


async def test_a_long_log(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Of a log that is longer than what is read, the end is read, where the exception stands."""
    airflow.add(Dag("dag", script=FAILS))
    airflow.faults.add(faults.padded(10_000), Kind.LOG)

    assert (await invoke(gateway)).message == TOLD


async def test_an_exception_that_is_too_long(airflow: FakeAirflow, gateway: Gateway) -> None:
    """One whose line is longer than what is read is not told."""
    endless = ValueError("." * 300_000)
    airflow.add(Dag("dag", script=[steps.fail("predict", raises=endless)]))

    assert (await invoke(gateway)).message == UNTOLD


@pytest.mark.parametrize("name", ["no answer", "half an answer, and no more"])
async def test_slow_logs_hold_up_nothing_else(
    airflow: FakeAirflow, gateway: Gateway, name: str
) -> None:
    """However many there are: other calls get their results, and later ones their exceptions."""
    failing = [airflow.add(Dag(f"failing{n}", script=FAILS)) for n in range(8)]
    airflow.add(Dag("working", script=[steps.finish("predict", 1)]))
    airflow.faults.add(NO_LOG[name], Kind.LOG)

    calls = [asyncio.create_task(invoke(gateway, dag.dag_id)) for dag in failing]
    result = await gateway.stub.Invoke(pb.InvokeRequest(dag_id="working"), timeout=10)
    errors = await asyncio.gather(*calls)
    airflow.faults.clear()

    assert MessageToDict(result.result) == {"return_value": 1}
    assert {error.message for error in errors} == {UNTOLD}
    run = failing[0].made[0].run_id
    async with asyncio.timeout(10):
        while (await wait(gateway, "failing0", run)).message != TOLD:
            pass


async def test_several_calls_read_one_log(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Calls that wait for one run, and those that come a little later, share one reading."""
    dag = airflow.add(Dag("dag"))
    run = dag.trigger(ours("1"), {})
    calls = [asyncio.create_task(wait(gateway, "dag", run.run_id)) for _ in range(5)]
    await airflow.polls(2)
    run.fail("predict", raises=BAD)

    errors = [*await asyncio.gather(*calls), await wait(gateway, "dag", run.run_id)]

    assert {error.message for error in errors} == {TOLD}
    assert airflow.count(Kind.LOG) == 1


async def test_a_run_that_fails_again(airflow: FakeAirflow, gateway: Gateway) -> None:
    """After it was cleared, the error tells what its newest try raised."""
    dag = airflow.add(Dag("dag", script=FAILS))
    assert (await invoke(gateway)).message == TOLD
    run = dag.made[0]
    run.clear("predict")
    run.fail("predict", raises=KeyError("x"))

    failed = await wait(gateway, "dag", run.run_id)

    assert failed.message == "task predict failed on try 2: KeyError: 'x'"


async def test_a_run_that_is_made_again(airflow: FakeAirflow, gateway: Gateway) -> None:
    """One of the same id has nothing of the one that was deleted."""
    dag = airflow.add(Dag("dag"))
    for raised in (BAD, KeyError("x")):
        run = dag.trigger(ours("1"), {})
        run.fail("predict", raises=raised)
        failed = await wait(gateway, "dag", ours("1"))
        assert failed.metadata["exception_type"] == type(raised).__name__
        run.delete()


@pytest.mark.parametrize(
    "settings",
    [
        {"task_exceptions": False},
        {"task_exceptions": False, "task_codes": {"dag": {"predict": "ABORTED"}}},
    ],
    ids=str,
)
async def test_turned_off(airflow: FakeAirflow, gateway: Gateway) -> None:
    """No log is read."""
    airflow.add(Dag("dag", script=FAILS))

    assert (await invoke(gateway)).message == UNTOLD
    assert airflow.count(Kind.LOG) == 0


@pytest.mark.parametrize("state", ["upstream_failed", "removed"])
async def test_a_task_that_was_not_run(airflow: FakeAirflow, gateway: Gateway, state: str) -> None:
    """There is nothing that it could have raised, and no log is read."""
    airflow.add(Dag("dag", script=[steps.begin("predict"), steps.state("predict", state)]))

    assert (await invoke(gateway)).reason == "TASK_FAILED"
    assert airflow.count(Kind.LOG) == 0


@pytest.mark.parametrize("settings", [{"exception_codes": {"ValueError": "OUT_OF_RANGE"}}], ids=str)
async def test_the_client_library(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Whatever its code, the error is a `TaskFailed` that knows run, task and exception."""
    dag = airflow.add(Dag("dag", script=FAILS))

    with pytest.raises(TaskFailed) as unary:
        await gateway.client.invoke("dag", timeout=10)
    with pytest.raises(TaskFailed) as streamed:
        async for _ in gateway.client.stream("dag", timeout=10):
            pass

    for error, run in zip((unary.value, streamed.value), dag.made, strict=True):
        assert error.code is StatusCode.OUT_OF_RANGE
        assert (error.run_id, error.task_id) == (run.run_id, "predict")
        assert error.exception_type == "ValueError"
        assert error.message == TOLD


@pytest.mark.parametrize(("time_left", "asks"), [(60, 1), (0, 0), (-1, 0)])
async def test_a_call_whose_time_is_over(airflow: FakeAirflow, time_left: float, asks: int) -> None:
    """What is known goes out in time, rather than DEADLINE_EXCEEDED for the sake of more."""
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})
    run.fail("predict", raises=BAD)
    instance = TaskInstance.model_validate(answers.task_instance(run, run.instance("predict")))
    transport = connect(settings_for(airflow))
    reports = FailureReports(AirflowApi(transport), FailureCodes(), reads_logs=True)

    error = await reports.complete(TaskFailed("it failed"), instance, time_left=time_left)

    assert error.message == ("it failed: ValueError: bad input" if asks else "it failed")
    assert airflow.count(Kind.LOG) == asks
    await transport.close()


@pytest.mark.parametrize(
    ("settings", "status", "finding"),
    [
        ({}, 404, "The account may read task logs."),
        (
            {},
            403,
            "The account may not read task logs: errors do not tell what a failed task raised.",
        ),
        ({"task_exceptions": False}, 403, None),
    ],
)
async def test_what_check_says(
    airflow: FakeAirflow, settings: dict[str, Any], status: int, finding: str | None
) -> None:
    """Whether exceptions can be told, which is no condition for serving."""
    airflow.faults.add(faults.refused(status, "TaskInstance not found"), Kind.LOG)

    findings = [finding async for finding in check_airflow(settings_for(airflow, **settings))]

    assert [found for found in findings if "logs" in found] == ([finding] if finding else [])


async def wait(gateway: Gateway, dag_id: str, run_id: str) -> Failure:
    """Wait for a run that fails."""
    request: Any = pb.WaitRequest(dag_id=dag_id, run_id=run_id)
    return await failure(gateway.stub.Wait(request, timeout=10))
