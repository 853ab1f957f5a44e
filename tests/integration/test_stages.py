"""Where the time of a call went that ended with an error, as its line in the log tells it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import grpc
import pytest
import structlog

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Run, faults, steps
from integration.cases import ROUNDS
from integration.gateway import Gateway
from integration.inference import infer, stub
from integration.run_ids import ours
from integration.waiting import eventually

METHODS = ("Invoke", "InvokeStream", "Wait", "Watch", "ModelInfer", "ModelStreamInfer")

LATE = 1.5
"""Seconds until a deadline that leaves room for a last look at the run."""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is logged of calls."""
    written = structlog.testing.CapturingLogger()
    monkeypatch.setattr("dag_inference_server.edge.rpc.log", written)
    return written


@pytest.fixture
async def calls(gateway: Gateway, written: Any) -> Calls:
    """A gateway that is ready to be called."""
    await gateway.ready()
    return Calls(gateway, written)


class Calls:
    """Calls that fail, and what the log has of them."""

    def __init__(self, gateway: Gateway, written: Any) -> None:
        """Of this gateway, which logs there."""
        self._gateway = gateway
        self._written = written

    async def line(
        self, method: str, dag_id: str, *, timeout: float | None = 20, run_id: str = ""
    ) -> dict[str, Any]:
        """Make a call, and give its line."""
        call: Any
        if method == "ModelInfer":
            call = stub(self._gateway).ModelInfer(infer(dag_id=dag_id), timeout=timeout)
        elif method == "ModelStreamInfer":
            requests = iter([infer(dag_id=dag_id)])
            call = stub(self._gateway).ModelStreamInfer(requests, timeout=timeout)
        else:
            request: Any = pb.InvokeRequest(dag_id=dag_id)
            if method in ("Wait", "Watch"):
                request = pb.WaitRequest(dag_id=dag_id, run_id=run_id)
            call = getattr(self._gateway.stub, method)(request, timeout=timeout)
        await _ended(call)

        def found() -> list[dict[str, Any]]:
            lines = [told.kwargs for told in self._written.calls]
            return [line for line in lines if line.get("dag_id") == dag_id]

        (line,) = await eventually(found)
        return line


async def _ended(call: Any) -> None:
    with suppress(grpc.aio.AioRpcError):
        if isinstance(call, grpc.aio.UnaryUnaryCall):
            await call
        else:
            async for _ in call:
                pass


def ran(run: Run) -> float:
    """How long its task ran."""
    predict = run.instance("predict")
    assert predict.start_date
    assert predict.end_date
    return (predict.end_date - predict.start_date).total_seconds()


@pytest.mark.parametrize("method", METHODS)
async def test_a_task_that_fails(airflow: FakeAirflow, calls: Calls, method: str) -> None:
    """It ran until it had failed. What of a run passed before the call is no part of it."""
    dag = airflow.add(Dag("dag", script=[steps.begin("predict")]))
    run = dag.trigger(ours("1"), {})
    run.begin("predict")
    waits = method in ("Wait", "Watch")
    calling = asyncio.create_task(calls.line(method, "dag", run_id=run.run_id))
    if not waits:
        (run,) = await eventually(lambda: dag.made[1:])
    asked = airflow.count(Kind.INSTANCES)
    await eventually(lambda: airflow.count(Kind.INSTANCES) > asked + 3)
    run.fail("predict")

    line = await calling

    stages = line["stages"]
    assert line["reason"] == "TASK_FAILED"
    assert stages.keys() == {"admission", "trigger", "queued", "running", "unattributed"}
    assert min(stages.values()) >= 0
    if waits:
        assert stages["queued"] == 0
        assert 0 < stages["running"] < line["seconds"]
    else:
        assert stages["running"] == pytest.approx(ran(run), abs=0.001)


@pytest.mark.parametrize(
    ("dag", "stage"),
    [
        (Dag("dag"), "queued"),
        (Dag("dag", script=[steps.start()]), "queued"),
        (Dag("dag", script=[steps.begin("predict")]), "running"),
    ],
    ids=["the run is queued", "its tasks are", "a task runs"],
)
@pytest.mark.parametrize("way", [("Invoke", -300), ("Invoke", 300), ("InvokeStream", 0)])
@pytest.mark.parametrize("settings", [{"default_deadline": LATE}], ids=[""])
async def test_a_deadline_that_passes(
    airflow: FakeAirflow, calls: Calls, dag: Dag, stage: str, way: tuple[str, float]
) -> None:
    """Whether all was spent in the queue is told: what is under way then ends with the call.

    Airflow's clock need not be ours.
    """
    airflow.add(dag)
    method, skew = way
    dag.clock.ahead = timedelta(seconds=skew)

    line = await calls.line(method, "dag", timeout=None)

    stages = line["stages"]
    assert line["reason"] == "DEADLINE_EXCEEDED"
    assert stages.keys() == {"admission", "trigger", "unattributed", "queued", stage}
    assert LATE / 2 < stages[stage] <= line["seconds"]
    # Airflow takes a run in before it answers the trigger, and clocks are known by as much.
    assert sum(stages.values()) <= line["seconds"] + stages["trigger"] + 0.001


async def test_a_task_that_never_ran(airflow: FakeAirflow, calls: Calls) -> None:
    """One that was failed in the queue was queued until then."""
    dag = airflow.add(Dag("dag", script=[steps.start()]))
    calling = asyncio.create_task(calls.line("Invoke", "dag"))
    (run,) = await eventually(lambda: dag.made)
    await airflow.polls(5)
    run.set_state("predict", "failed")

    line = await calling

    assert line["reason"] == "TASK_FAILED"
    ended, made = run.instance("predict").end_date, run.queued_at
    assert ended
    assert made
    assert line["stages"]["queued"] == pytest.approx((ended - made).total_seconds(), abs=0.001)
    assert "running" not in line["stages"]


async def test_a_deadline_before_anybody_has_looked(airflow: FakeAirflow, calls: Calls) -> None:
    """Where the time is too short for a last look, nobody knows whether the run was queued."""
    airflow.add(Dag("dag", script=[steps.begin("predict")]))

    line = await calls.line("Invoke", "dag", timeout=0.6)

    assert line["reason"] == "DEADLINE_EXCEEDED"
    assert line["stages"].keys() == {"admission", "trigger", "unattributed"}


async def test_a_deadline_before_there_is_a_run(airflow: FakeAirflow, calls: Calls) -> None:
    """The trigger was under way."""
    airflow.add(Dag("dag"))
    airflow.faults.add(faults.hanging(), Kind.TRIGGER)

    line = await calls.line("Invoke", "dag", timeout=LATE)

    assert line["stages"].keys() == {"admission", "trigger", "unattributed"}
    assert line["stages"]["trigger"] > LATE / 2


async def test_a_result_that_cannot_be_sent(airflow: FakeAirflow, calls: Calls) -> None:
    """Its task runs until it is there, and not while it is read."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", "x" * 5_000_000)]))

    line = await calls.line("Invoke", "dag")

    assert line["reason"] == "RESULT_TOO_LARGE"
    assert line["stages"]["running"] == pytest.approx(ran(dag.made[0]), abs=0.001)
    assert line["stages"]["unattributed"] > 0


async def test_a_result_that_was_cleared(airflow: FakeAirflow, calls: Calls) -> None:
    """What had ended runs once more, and until now."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", "old")]))
    cleared = asyncio.Event()

    def clear() -> None:
        dag.made[0].clear("predict")
        dag.made[0].begin("predict")
        cleared.set()

    airflow.faults.add(faults.just_before(clear), Kind.VALUE, times=1)
    airflow.faults.add(faults.held_until(cleared), Kind.INSTANCE, times=1)

    line = await calls.line("Invoke", "dag", timeout=LATE)

    assert line["reason"] == "DEADLINE_EXCEEDED"
    assert LATE / 2 < line["stages"]["running"] <= line["seconds"]


@pytest.mark.parametrize("settings", [ROUNDS], ids=[""])
async def test_a_dag_that_is_paused_meanwhile(airflow: FakeAirflow, calls: Calls) -> None:
    """Its run was queued until that was noticed."""
    airflow.add(Dag("dag", script=[steps.pause()]))

    line = await calls.line("Invoke", "dag")

    assert line["reason"] == "DAG_PAUSED"
    assert line["stages"].keys() == {"admission", "trigger", "queued", "unattributed"}


async def test_a_run_that_is_ended_before_a_task_starts(airflow: FakeAirflow, calls: Calls) -> None:
    """It was queued until its end."""
    dag = airflow.add(Dag("dag", script=[steps.end("failed")]))

    line = await calls.line("Invoke", "dag")

    assert line["reason"] == "RUN_TIMED_OUT"
    assert line["stages"].keys() == {"admission", "trigger", "queued", "unattributed"}
    run = dag.made[0]
    assert run.queued_at
    assert run.end_date
    waited = (run.end_date - run.queued_at).total_seconds()
    assert line["stages"]["queued"] == pytest.approx(waited, abs=0.001)


@pytest.mark.parametrize("method", METHODS)
async def test_a_call_that_is_refused(airflow: FakeAirflow, calls: Calls, method: str) -> None:
    """It was admitted at most."""
    airflow.add(Dag("dag", is_paused=True))

    line = await calls.line(method, "dag", run_id="nope")

    assert line["reason"] in ("DAG_PAUSED", "RUN_NOT_OURS")
    assert line["stages"].keys() == {"admission"}


async def test_a_bug(airflow: FakeAirflow, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has stages as any error has."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    monkeypatch.setattr("dag_inference_server.invocation.wait.decide", None)

    line = await calls.line("Invoke", "dag")

    assert line["reason"] == "GATEWAY_BUG"
    assert line["stages"].keys() >= {"admission", "trigger", "unattributed"}
