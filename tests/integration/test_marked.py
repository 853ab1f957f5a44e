"""What is done to a run by hand counts, by whichever host, and whatever time that thinks it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias

import pytest
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Run, Task
from integration.cases import ROUNDS
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.statuses import failure
from integration.waiting import eventually, first_run

# What is stamped too early is found by rounds.
pytestmark = pytest.mark.parametrize("settings", [ROUNDS], ids=[""])

NULL = {"return_value": None}

Deed: TypeAlias = Callable[[Run], None]

off = pytest.mark.parametrize("off", [timedelta(seconds=s) for s in (-3, 0, 3)], ids=str)
"""How far the clock of the API server is off by which something is done."""

mark = pytest.mark.parametrize(
    "mark",
    [lambda run: run.mark("success"), lambda run: run.mark_task("predict", "success")],
    ids=["run", "task"],
)
"""What is done by it, while the task runs."""

versions = pytest.mark.parametrize("version", ["3.1.8", "3.3.2"])
"""Of an older one, the log does not have what workers say."""


def invoke(gateway: Gateway, **fields: Any) -> Any:
    return gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag", **fields), timeout=10)


def wait(gateway: Gateway, run: Run) -> Any:
    return gateway.stub.Wait(pb.WaitRequest(dag_id="dag", run_id=run.run_id), timeout=10)


async def value(call: Any) -> Any:
    return MessageToDict((await call).result)


async def marked(dag: Dag, call: Any, off: timedelta) -> Run:
    """The run of a call that has failed, because it was marked while it ran."""
    run = await first_run(dag)
    run.begin("predict")
    run.off = off
    run.mark("success")
    await failure(call)
    return run


@off
@mark
async def test_marked_success(
    airflow: FakeAirflow, gateway: Gateway, off: timedelta, mark: Deed
) -> None:
    """A task that was marked while it ran has returned nothing, which is not null."""
    dag = airflow.add(Dag("dag"))
    call = invoke(gateway)
    run = await first_run(dag)
    run.begin("predict")
    run.off = off
    mark(run)

    failed = await failure(call)

    assert (failed.code, failed.reason) == (StatusCode.ABORTED, "RUN_CANCELLED")


@off
async def test_asked_again(airflow: FakeAirflow, gateway: Gateway, off: timedelta) -> None:
    """A call that is repeated after the mark triggers a run that is there: it is no new one."""
    dag = airflow.add(Dag("dag"))
    await marked(dag, invoke(gateway, request_id="mine"), off)

    failed = await failure(invoke(gateway, request_id="mine"))

    assert failed.reason == "RUN_CANCELLED"
    assert len(dag.made) == 1


@versions
@off
async def test_another_of_that_id(airflow: FakeAirflow, gateway: Gateway, off: timedelta) -> None:
    """What was done to a run that was deleted does not count for the next one of its id."""
    dag = airflow.add(Dag("dag"))
    run = await marked(dag, invoke(gateway, request_id="mine"), off)
    run.delete()

    answer = asyncio.create_task(value(invoke(gateway, request_id="mine")))
    await eventually(lambda: len(dag.made) > 1)
    dag.made[1].finish("predict", None)

    assert await answer == NULL
    assert run.run_id == dag.made[1].run_id


@versions
@off
@mark
async def test_cleared_after_it(
    airflow: FakeAirflow, gateway: Gateway, off: timedelta, mark: Deed
) -> None:
    """A run that was cleared after a mark goes on as if nothing had been."""
    dag = airflow.add(Dag("dag"))
    answer = asyncio.create_task(value(invoke(gateway)))
    run = await first_run(dag)
    run.begin("predict")
    run.off = off
    mark(run)
    run.off = timedelta(0)
    run.clear("predict")
    await airflow.polls(2)
    assert not answer.done()
    run.finish("predict", None)

    assert await answer == NULL


TWO = (Task("predict", ["tidy"]), Task("tidy"))


@off
async def test_null_before_it(airflow: FakeAirflow, gateway: Gateway, off: timedelta) -> None:
    """What had returned before the mark stands."""
    dag = airflow.add(Dag("dag", *TWO, tags=["result:predict"]))
    run = dag.trigger(ours("1"), {})
    run.finish("predict", None)
    run.off = off
    run.mark("success")

    assert await value(wait(gateway, run)) == NULL


@off
async def test_failed_before_it(airflow: FakeAirflow, gateway: Gateway, off: timedelta) -> None:
    """What had failed before the mark failed by itself."""
    dag = airflow.add(Dag("dag", *TWO, tags=["result:predict"]))
    run = dag.trigger(ours("1"), {})
    run.fail("predict")
    run.off = off
    run.mark("failed")

    failed = await failure(wait(gateway, run))

    assert (failed.reason, failed.metadata["task_id"]) == ("TASK_FAILED", "predict")


def retry(run: Run) -> None:
    run.retry("predict")
    run.mark("failed")


def excuse(run: Run) -> None:
    run.fail("predict")
    run.mark_task("predict", "success")


@pytest.mark.parametrize("deed", [retry, excuse])
async def test_what_had_ended_once(airflow: FakeAirflow, gateway: Gateway, deed: Deed) -> None:
    """A mark leaves the end of a try that failed where it was, and is still what ended the task."""
    dag = airflow.add(Dag("dag"))
    run = dag.trigger(ours("1"), {})
    deed(run)

    failed = await failure(wait(gateway, run))

    assert failed.reason == "RUN_CANCELLED"
