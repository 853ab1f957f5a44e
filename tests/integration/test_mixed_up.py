"""Answers that are Airflow's own, to something else than what was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Run, Task, answers, faults, steps
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.statuses import failure

ANOTHER = ours("another")

SCRIPT = [steps.finish("side", "another's"), steps.finish("predict", "mine"), steps.end()]


def _instances(run: Run) -> answers.Body:
    return answers.page("task_instances", [_instance(run)], 1)


def _instance(run: Run) -> answers.Body:
    return answers.task_instance(run, run.instances["predict", -1])


TOLD: Mapping[Kind, Callable[[Run], answers.Body]] = {
    Kind.DAG: lambda run: answers.dag_details(run.dag),
    Kind.SOURCE: lambda run: answers.dag_source(run.dag, run.version),
    Kind.TRIGGER: answers.dag_run,
    Kind.RUN: answers.dag_run,
    Kind.RUNS: lambda run: answers.page("dag_runs", [answers.dag_run(run)], 1),
    Kind.INSTANCES: _instances,
    Kind.RUN_INSTANCES: _instances,
    Kind.INSTANCE: _instance,
    Kind.VALUE: lambda run: answers.xcom(run, "predict", -1),
}
"""What Airflow tells of another run, by what it was asked for."""


async def test_now_and_then(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Airflow is asked again: a call gets its own run's result, and makes one run."""
    for kind in TOLD:
        _mix_up(airflow, kind, times=2)

    async def call(kind: Kind) -> list[Any]:
        made = await gateway.stub.Invoke(pb.InvokeRequest(dag_id=kind), timeout=10)
        wait = pb.WaitRequest(dag_id=kind, run_id=made.run.run_id)
        found = await gateway.stub.Wait(wait, timeout=10)
        return [MessageToDict(response.result) for response in (made, found)]

    values = await asyncio.gather(*(call(kind) for kind in TOLD))

    assert values == [[{"return_value": "mine"}] * 2] * len(TOLD)
    made = {run.run_id for run in airflow.made if run.run_id != ANOTHER}
    assert len(made) == len(TOLD)


async def test_always(airflow: FakeAirflow, gateway: Gateway) -> None:
    """No call is told of another run, or gets what that returned."""
    for kind in TOLD:
        _mix_up(airflow, kind).trigger(ours("before"), {})

    async def told(call: Any) -> tuple[str, str | None]:
        try:
            response = await call
        except grpc.aio.AioRpcError:
            failed = await failure(call)
            if not failed.reason:
                # The caller's own clock rang first.
                return failed.code.name, None
            return failed.reason, failed.metadata.get("run_id")
        return response.result["return_value"], response.run.run_id

    before = ours("before")
    calls = [
        call
        for kind in TOLD
        for call in (
            gateway.stub.Invoke(pb.InvokeRequest(dag_id=kind), timeout=2),
            gateway.stub.Wait(pb.WaitRequest(dag_id=kind, run_id=before), timeout=2),
        )
    ]
    outcomes, run_ids = zip(*await asyncio.gather(*(told(call) for call in calls)), strict=True)

    assert {*outcomes} <= {"mine", "AIRFLOW_UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert ANOTHER not in run_ids


@pytest.mark.parametrize("results", ["null", "1", '["predict"]', '"predict"'])
async def test_results_that_are_none(airflow: FakeAirflow, gateway: Gateway, results: str) -> None:
    """What should name the results of a run and does not is asked for again."""
    tasks = Task("predict", is_result=True), Task("side")
    airflow.add(Dag("dag", *tasks, source=None, script=SCRIPT))
    odd = f'{{"state": "success", "results": {results}}}'
    airflow.faults.add(faults.answered(odd.encode()), Kind.WAIT, times=2)

    response = await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=10)

    assert MessageToDict(response.result) == {"return_value": "mine"}


def _mix_up(airflow: FakeAirflow, kind: Kind, *, times: int | None = None) -> Dag:
    """A DAG that has another run, and gives its own answers to requests of a kind.

    In its first version, which that run is of, another task gives the result.
    """
    dag = airflow.add(Dag(kind, Task("predict"), Task("side", is_result=True)))
    # Of a DAG's details, there are those of other DAGs only.
    whose = airflow.add(Dag(f"{kind}_too", is_paused=True)) if kind is Kind.DAG else dag
    another = whose.trigger(ANOTHER, {})
    another.finish("predict", "another's")
    another.end("success")
    dag.new_version(Task("predict", is_result=True), Task("side"))
    dag.script = SCRIPT
    # A poll is about every DAG.
    dag_id = None if kind in (Kind.RUNS, Kind.INSTANCES) else kind
    airflow.faults.add(faults.mixed_up(TOLD[kind](another)), kind, times=times, dag_id=dag_id)
    return dag
