"""What has ended is gone: nothing of a call is left for the garbage collector to find."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.edge.rpc import Rpc
from dag_inference_server.invocation.flight import Flight
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.gateway import Gateway, running, settings_for
from integration.inference import infer, stub
from integration.run_ids import ours
from integration.statuses import ended
from integration.waiting import eventually

CALLS = 5
"""Of each kind."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """The garbage collector finds nothing."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def all_gone() -> None:
    """Wait until there is nothing of any call, whose run may have to be ended first."""
    await eventually(lambda: not any(isinstance(o, Flight | Rpc) for o in gc.get_objects()), 30)


def request(kind: str) -> pb.InvokeRequest:
    """A call of one kind."""
    match kind:
        case "ends at its deadline":
            return pb.InvokeRequest(dag_id="parked", on_deadline=pb.ON_DEADLINE_CANCEL)
        case "goes away":
            return pb.InvokeRequest(dag_id="parked", on_disconnect=pb.ON_DISCONNECT_CANCEL)
        case "is malformed":
            return pb.InvokeRequest()
        case _:
            return pb.InvokeRequest(dag_id=kind)


def call_of(gateway: Gateway, method: str, dag_id: str, timeout: float = 20) -> Any:
    """A call of a method, which waits for a run of its own or for the one that there is."""
    match method:
        case "ModelInfer":
            return stub(gateway).ModelInfer(infer(dag_id=dag_id), timeout=timeout)
        case "ModelStreamInfer":
            asked = [infer(dag_id=dag_id), infer(dag_id=dag_id)]
            return stub(gateway).ModelStreamInfer(iter(asked), timeout=timeout)
        case "Wait" | "Watch":
            this = pb.WaitRequest(dag_id=dag_id, run_id=ours("1"))
            return getattr(gateway.stub, method)(this, timeout=timeout)
        case _:
            return getattr(gateway.stub, method)(pb.InvokeRequest(dag_id=dag_id), timeout=timeout)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "method", ["Invoke", "InvokeStream", "Wait", "Watch", "ModelInfer", "ModelStreamInfer"]
)
async def test_a_call_that_gets_its_result(
    airflow: FakeAirflow, gateway: Gateway, method: str
) -> None:
    """Whoever asks, and in which way."""
    dag = airflow.add(Dag("answers", script=[steps.finish("predict", 1)]))
    dag.trigger(ours("1"), {}).finish("predict", 1)
    calls = [call_of(gateway, method, "answers") for _ in range(CALLS)]
    for call in calls:
        if isinstance(call, grpc.aio.UnaryUnaryCall):
            await call
        else:
            answers = [answer async for answer in call]
            assert not any(getattr(answer, "error_message", "") for answer in answers)

    await all_gone()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("method", ["Invoke", "InvokeStream"])
@pytest.mark.parametrize(
    "kind",
    ["fails", "paused", "nowhere", "parked", "ends at its deadline", "goes away", "is malformed"],
)
async def test_a_call_that_gets_no_result(
    airflow: FakeAirflow, gateway: Gateway, method: str, kind: str
) -> None:
    """Whichever way it ends: by its run, by its DAG, by its deadline, by its caller."""
    airflow.add(Dag("fails", script=[steps.fail("predict", raises=ValueError("no luck"))]))
    airflow.add(Dag("paused", is_paused=True))
    parked = airflow.add(Dag("parked"))
    timeout = 0.5 if kind in {"parked", "ends at its deadline"} else 20
    call: Any = getattr(gateway.stub, method)
    calls = [call(request(kind), timeout=timeout) for _ in range(CALLS)]
    if kind == "goes away":
        await eventually(lambda: len(parked.made) == CALLS)
        for each in calls:
            each.cancel()
    await asyncio.gather(*map(ended, calls))

    await all_gone()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("kind", ["fails", "nowhere", "parked"])
async def test_tensors_that_get_no_result(
    airflow: FakeAirflow, gateway: Gateway, kind: str
) -> None:
    """Nor in the Open Inference Protocol is anything left of them."""
    airflow.add(Dag("fails", script=[steps.fail("predict", raises=ValueError("no luck"))]))
    airflow.add(Dag("parked"))
    timeout = 0.5 if kind == "parked" else 20
    calls = [call_of(gateway, "ModelInfer", kind, timeout) for _ in range(CALLS)]
    await asyncio.gather(*map(ended, calls))

    await all_gone()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("settings", [{"max_calls_per_dag": 1}])
@pytest.mark.parametrize("method", ["Invoke", "InvokeStream", "ModelInfer"])
async def test_a_call_that_is_refused(airflow: FakeAirflow, gateway: Gateway, method: str) -> None:
    """One too many of its DAG."""
    dag = airflow.add(Dag("parked"))
    stays = gateway.stub.Invoke(request("parked"), timeout=20)
    await eventually(lambda: dag.made)
    calls = [call_of(gateway, method, "parked") for _ in range(CALLS)]
    await asyncio.gather(*map(ended, calls))
    stays.cancel()

    await all_gone()


@pytest.mark.usefixtures("no_collector")
async def test_a_call_that_is_cut_off(airflow: FakeAirflow) -> None:
    """By a gateway that goes away."""
    dag = airflow.add(Dag("parked"))
    async with running(settings_for(airflow)) as gateway:
        methods = ("Invoke", "InvokeStream", "ModelInfer")
        calls = [call_of(gateway, method, "parked") for method in methods]
        await eventually(lambda: len(dag.made) == len(methods))
        gateway.end()
        await asyncio.gather(*map(ended, calls))

        await all_gone()


@pytest.mark.usefixtures("no_collector")
async def test_a_call_whose_run_is_cancelled(airflow: FakeAirflow, gateway: Gateway) -> None:
    """By request, while it waits for it."""
    dag = airflow.add(Dag("parked"))
    calls = [gateway.stub.Invoke(request("parked"), timeout=20) for _ in range(CALLS)]
    await eventually(lambda: len(dag.made) == CALLS)
    for run in dag.made:
        await gateway.stub.Cancel(pb.CancelRequest(dag_id="parked", run_id=run.run_id), timeout=5)
    await asyncio.gather(*map(ended, calls))

    await all_gone()


@pytest.mark.usefixtures("no_collector")
async def test_a_call_that_leaves_before_its_run_is_made(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """Also if the run would have been ended, had it been made."""
    airflow.add(Dag("parked"))
    held = asyncio.Event()
    airflow.faults.add(faults.held_until(held), Kind.TRIGGER)
    calls = [
        gateway.stub.Invoke(request("ends at its deadline"), timeout=0.5)
        # Of which most are not sent, because there are fewer connections.
        for _ in range(30)
    ]
    await asyncio.gather(*map(ended, calls))
    held.set()

    await all_gone()


@pytest.mark.usefixtures("no_collector")
async def test_a_wait_for_no_run(airflow: FakeAirflow, gateway: Gateway) -> None:
    """That finds none."""
    airflow.add(Dag("dag"))
    this = pb.WaitRequest(dag_id="dag", run_id=ours("1"))
    await asyncio.gather(*(ended(gateway.stub.Wait(this, timeout=5)) for _ in range(CALLS)))

    await all_gone()
