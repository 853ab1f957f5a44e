"""The look for unfinished runs, where the account may not list those of all DAGs at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dag_inference.errors import AirflowUnavailable
from dag_inference_server.airflow import (
    AirflowApi,
    Credentials,
    Listings,
    Transport,
    UnfinishedRuns,
)
from dag_inference_server.invocation.run_ids import RunIds
from fakes.airflow import Dag, FakeAirflow, Kind, faults
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.test_run_timeout import request
from integration.waiting import eventually, first_run

DAGS = [f"d{number}" for number in range(20)]


@pytest.fixture(autouse=True)
def _by_dag(airflow: FakeAirflow) -> None:
    airflow.faults.add(faults.refused(403, "Forbidden"), Kind.RUNS, dag_id="~")


@pytest.fixture
async def runs(airflow: FakeAirflow) -> AsyncIterator[UnfinishedRuns]:
    """Of a gateway that serves all DAGs but one."""
    for dag_id in DAGS:
        airflow.add(Dag(dag_id)).trigger(ours(dag_id), {})
    account = Credentials(airflow.accounts.username, lambda: airflow.accounts.password)
    transport = Transport(airflow.url, account, timeout=20, connections=2)
    api = AirflowApi(transport)
    yield UnfinishedRuns(
        api,
        Listings(api, transport, prefix="grpc"),
        is_ours=RunIds("grpc").is_ours,
        serves=lambda dag_id: dag_id != "d1",
    )
    await transport.close()


def asked(airflow: FakeAirflow) -> list[str | None]:
    """The DAGs of which runs were listed."""
    return [each.dag_id for each in airflow.asked if each.kind is Kind.RUNS]


async def test_dags_that_do_not_matter(airflow: FakeAirflow, runs: UnfinishedRuns) -> None:
    """Are not asked for: those that are not served, and those that are gone from their files."""
    airflow.add(Dag("gone")).is_stale = True

    unfinished = await runs.find()

    assert {run.dag_id for run in unfinished.runs} == {*DAGS} - {"d1"}
    assert sorted(filter(None, asked(airflow))) == sorted({"~", *DAGS} - {"d1"})
    assert unfinished.tells_of("d2")
    assert not unfinished.tells_of("d1")
    assert not unfinished.tells_of("gone")


async def test_the_refusal_is_remembered(airflow: FakeAirflow, runs: UnfinishedRuns) -> None:
    """The listing over all DAGs is not tried each time."""
    for _ in range(3):
        await runs.find()
    assert asked(airflow).count("~") == 1


async def test_some_dags_that_fail(airflow: FakeAirflow, runs: UnfinishedRuns) -> None:
    """Are left out, and no DAG is asked for twice because of another."""
    for dag_id in ("d3", "d7", "d11"):
        airflow.faults.add(faults.refused(503), Kind.RUNS, dag_id=dag_id)

    unfinished = await runs.find()

    ill = {"d3", "d7", "d11"}
    assert {run.dag_id for run in unfinished.runs} == {*DAGS} - {"d1"} - ill
    assert not any(unfinished.tells_of(dag_id) for dag_id in ill)
    assert len(asked(airflow)) == len(DAGS)


@pytest.mark.parametrize("there_are", [len(DAGS), 3])
async def test_airflow_is_away(airflow: FakeAirflow, runs: UnfinishedRuns, there_are: int) -> None:
    """That is no matter of some DAGs, and of many DAGs only a few are asked for to find it out."""
    for dag_id in DAGS[there_are:]:
        airflow.remove(dag_id)
    for dag_id in DAGS:
        airflow.faults.add(faults.refused(503), Kind.RUNS, dag_id=dag_id)

    with pytest.raises(AirflowUnavailable):
        await runs.find()

    assert len(asked(airflow)) < 10


@pytest.fixture
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dag_inference_server.ending.timeouts._LOOK_EVERY", 0.05)


@pytest.mark.usefixtures("_looks_often")
async def test_a_run_that_is_not_seen(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Its limit is not forgotten because its DAG cannot be listed."""
    dag = airflow.add(Dag("dag"))
    airflow.add(Dag("another"))
    airflow.faults.add(faults.refused(503), Kind.RUNS, dag_id="dag")
    call = gateway.stub.Invoke(request(1500), timeout=30)
    run = await first_run(dag)

    await eventually(lambda: run.state == "failed")

    assert asked(airflow).count("another") > 2
    call.cancel()
