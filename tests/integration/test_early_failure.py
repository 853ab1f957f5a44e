"""The error goes out as soon as the result has become impossible, and not before."""

from __future__ import annotations

import asyncio

from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.statuses import failure
from integration.waiting import first_run

CHAIN = Task("load", ["clean", "predict"]), Task("predict"), Task("clean", trigger_rule="all_done")
"""`clean` is no part of the result, and takes its time."""


def chain(result: str = "predict") -> Dag:
    """A DAG whose result task waits for another one."""
    return Dag("dag", *CHAIN, tags=[f"result:{result}"])


def invoke(gateway: Gateway) -> asyncio.Task[pb.InvokeResponse]:
    """Call it."""

    async def call() -> pb.InvokeResponse:
        return await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=10)

    return asyncio.create_task(call())


async def test_before_airflow_has_drawn_the_conclusion(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """A failure on the critical path is told while the result task still has no state."""
    dag = airflow.add(chain())
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=10)
    run = await first_run(dag)
    run.begin("load")
    run.fail("load")

    failed = await failure(call)

    assert (failed.code, failed.reason) == (StatusCode.ABORTED, "TASK_FAILED")
    assert failed.metadata["task_id"] == "load"
    assert failed.metadata["run_state"] == "running"
    assert run.instance("predict").state is None


async def test_a_lenient_task_on_the_way(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A task that runs after a failure may still give the result."""
    dag = airflow.add(chain("clean"))
    answer = invoke(gateway)
    run = await first_run(dag)
    run.fail("load")
    await airflow.polls(3)
    assert not answer.done()
    run.finish("clean", "all the same")

    assert MessageToDict((await answer).result) == {"return_value": "all the same"}


async def test_a_path_that_an_edit_has_removed(airflow: FakeAirflow, gateway: Gateway) -> None:
    """After an edit of the DAG, only the result task's own state decides."""
    dag = airflow.add(chain())
    answer = invoke(gateway)
    run = await first_run(dag)
    dag.new_version(Task("load"), Task("predict"), source=None)
    run.fail("load")
    await airflow.polls(3)
    assert not answer.done()
    run.finish("predict", "without it")

    assert MessageToDict((await answer).result) == {"return_value": "without it"}


async def test_cleared_before_it_was_told(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A task that is tried once more, by hand, before the error went out: the call goes on."""
    dag = airflow.add(chain())
    answer = invoke(gateway)
    run = await first_run(dag)
    await airflow.polls(2)
    airflow.faults.add(
        faults.just_before(lambda: run.clear("load")), Kind.RUN_INSTANCES, dag_id="dag", times=1
    )
    run.fail("load")
    await airflow.polls(3)
    assert not answer.done()
    run.finish("load")
    run.finish("predict", "at last")

    assert MessageToDict((await answer).result) == {"return_value": "at last"}


async def test_a_mapped_task_that_failed_before_it_was_expanded(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """Cleared and expanded, it is no failure any more, also for a call that comes later."""
    dag = airflow.add(
        Dag("dag", Task("work", ["predict"], is_mapped=True), Task("predict"), Task("other"))
    )
    run = dag.trigger(ours("mine"), {})
    for_other = pb.WaitRequest(dag_id="dag", run_id=ours("mine"), result_task_ids=["other"])
    other = asyncio.create_task(_wait(gateway, for_other))
    await airflow.polls(2)
    run.set_state("work", "upstream_failed")
    await airflow.polls(3)
    run.expand("work", 2)
    for index in range(2):
        run.finish("work", index, index)

    for_predict = pb.WaitRequest(dag_id="dag", run_id=ours("mine"), result_task_ids=["predict"])
    answer = asyncio.create_task(_wait(gateway, for_predict))
    await airflow.polls(3)
    run.finish("predict", "at last")
    run.finish("other", "too")

    assert MessageToDict((await answer).result) == {"return_value": "at last"}
    assert MessageToDict((await other).result) == {"return_value": "too"}


async def _wait(gateway: Gateway, request: pb.WaitRequest) -> pb.InvokeResponse:
    return await gateway.stub.Wait(request, timeout=10)
