"""How the gateway proves its account: logins are few, whatever Airflow makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.airflow import AirflowApi, Credentials, Transport
from fakes.airflow import Dag, FakeAirflow, Kind, faults
from integration.gateway import Gateway, running, settings_for
from integration.scraping import scrape
from integration.statuses import failure
from integration.waiting import eventually

REQUEST = pb.InvokeRequest(dag_id="dag")
CALLS = 30


@pytest.fixture(autouse=True)
def _long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause is over before its test is, however slow the machine."""
    monkeypatch.setattr("dag_inference_server.airflow.tokens._SHORTEST", 60.0)
    monkeypatch.setattr("dag_inference_server.airflow.tokens._LONGEST", 60.0)


async def _refusals(gateway: Gateway) -> set[tuple[str, str]]:
    """Why calls fail, one after the other and all at once."""
    found = [await failure(gateway.stub.Invoke(REQUEST, timeout=30)) for _ in range(CALLS)]
    at_once = (failure(gateway.stub.Invoke(REQUEST, timeout=30)) for _ in range(CALLS))
    return {(each.reason, each.message) for each in (*found, *await asyncio.gather(*at_once))}


async def test_a_password_that_is_refused(airflow: FakeAirflow, tmp_path: Path) -> None:
    """Is sent once, all calls are told so; another one in its file is taken at once."""
    airflow.add(Dag("dag"))
    password = tmp_path / "password"
    password.write_text(airflow.accounts.password)
    others: dict[str, Any] = {"airflow_password": None, "airflow_password_file": password}
    async with running(settings_for(airflow, **others)) as gateway:
        await gateway.ready()
        airflow.accounts.password = "new"
        airflow.accounts.expire()
        before = airflow.count(Kind.TOKEN)

        refusals = await _refusals(gateway)
        logins = airflow.count(Kind.TOKEN) - before
        password.write_text("new")
        call = gateway.stub.Invoke(REQUEST, timeout=30)
        await eventually(lambda: airflow.made)
        call.cancel()

    assert refusals == {("AIRFLOW_DENIED", "Airflow refuses the password of gateway")}
    assert logins == 1


async def test_tokens_that_are_refused(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow gives one and does not take it: no further one is asked for, for a while."""
    airflow.add(Dag("dag"))
    await gateway.ready()
    monkeypatch.setattr(airflow.accounts, "issue", lambda: "of another key")
    airflow.accounts.expire()
    before = airflow.count(Kind.TOKEN)

    assert {reason for reason, _ in await _refusals(gateway)} == {"AIRFLOW_DENIED"}
    assert airflow.count(Kind.TOKEN) - before == 1


async def test_a_ready_token_that_is_refused(airflow: FakeAirflow) -> None:
    """Is not sent again, for a while."""
    airflow.add(Dag("dag"))
    others: dict[str, Any] = {"airflow_username": None, "airflow_password": None}
    settings = settings_for(airflow, **others, airflow_token=airflow.accounts.issue())
    async with running(settings) as gateway:
        await gateway.ready()
        airflow.accounts.expire()
        before = airflow.count(Kind.DAG)

        refusals = await _refusals(gateway)

    assert refusals == {("AIRFLOW_DENIED", "Airflow refuses the gateway's token")}
    assert airflow.count(Kind.DAG) - before <= 1


async def test_it_is_tried_again(airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause: an account can be let in again with the same password."""
    monkeypatch.setattr("dag_inference_server.airflow.tokens._SHORTEST", 0.05)
    airflow.faults.add(faults.refused(401, "Invalid credentials"), Kind.TOKEN, times=1)
    async with running(settings_for(airflow)) as gateway:
        await asyncio.wait_for(gateway.serving.ready.wait(), 20)
    assert airflow.count(Kind.TOKEN) == 2


def _has_no_account(airflow: FakeAirflow) -> dict[str, Any]:
    return {"airflow_username": None, "airflow_password": None}


def _has_a_wrong_password(airflow: FakeAirflow) -> dict[str, Any]:
    return {"airflow_password": "guess"}


def _has_an_old_token(airflow: FakeAirflow) -> dict[str, Any]:
    token = airflow.accounts.issue()
    airflow.accounts.expire()
    return {"airflow_username": None, "airflow_password": None, "airflow_token": token}


def _gets_bad_tokens(airflow: FakeAirflow) -> dict[str, Any]:
    airflow.accounts.issue = lambda: "of another key"  # type: ignore[method-assign]
    return {}


def _cannot_log_in(airflow: FakeAirflow) -> dict[str, Any]:
    airflow.faults.add(faults.refused(503), Kind.TOKEN)
    return {}


@pytest.mark.parametrize(
    ("account", "is_refused", "logins"),
    [
        (_has_no_account, 1, None),
        (_has_a_wrong_password, 1, "refused"),
        (_has_an_old_token, 1, None),
        (_gets_bad_tokens, 1, "ok"),
        (_cannot_log_in, 0, "unanswered"),
    ],
)
async def test_who_is_told_of_an_account_that_is_refused(
    airflow: FakeAirflow,
    account: Callable[[FakeAirflow], dict[str, Any]],
    is_refused: float,
    logins: str | None,
) -> None:
    """Prometheus, however it is refused; an Airflow that is away is something else."""
    async with running(settings_for(airflow, **account(airflow))) as gateway:
        await failure(gateway.stub.Invoke(REQUEST, timeout=30))
        told = await scrape(gateway)

    assert told.shown("dag_inference_airflow_account_refused") == is_refused
    refreshes = told.having("dag_inference_airflow_token_refreshes_total")
    assert {each.labels["outcome"] for each in refreshes if each.value} == {logins} - {None}


async def test_prometheus_is_told_when_it_is_let_in(airflow: FakeAirflow, tmp_path: Path) -> None:
    """By the first request that is granted."""
    airflow.add(Dag("dag"))
    password = tmp_path / "password"
    password.write_text("guess")
    others: dict[str, Any] = {"airflow_password": None, "airflow_password_file": password}
    async with running(settings_for(airflow, **others)) as gateway:
        await failure(gateway.stub.Invoke(REQUEST, timeout=30))
        assert (await scrape(gateway))("dag_inference_airflow_account_refused") == 1
        password.write_text(airflow.accounts.password)
        call = gateway.stub.Invoke(REQUEST, timeout=30)
        await eventually(lambda: airflow.made)
        call.cancel()
        assert (await scrape(gateway)).shown("dag_inference_airflow_account_refused") == 0


@pytest.fixture
async def api(airflow: FakeAirflow) -> AsyncIterator[AirflowApi]:
    """Airflow's API, with one connection for reads and one for triggers."""
    account = Credentials(airflow.accounts.username, lambda: airflow.accounts.password)
    transport = Transport(airflow.url, account, timeout=20, connections=2)
    yield AirflowApi(transport)
    await transport.close()


@pytest.mark.parametrize("status", [401, 403])
async def test_a_proxy_that_wants_the_token(
    airflow: FakeAirflow, api: AirflowApi, status: int
) -> None:
    """Before what Airflow tells anybody gets it, too."""
    airflow.faults.add(faults.refused(status, ""), Kind.VERSION, times=1)

    assert await api.version() == "3.3.2"
    asked = [each.request for each in airflow.asked if each.kind is Kind.VERSION]
    assert ["authorization" in each.headers for each in asked] == [False, True]


async def test_a_token_that_expires_while_a_request_waits(
    airflow: FakeAirflow, api: AirflowApi
) -> None:
    """And whose successor expires, too: whatever it is sent with, another one is fetched."""
    airflow.add(Dag("dag"))
    await api.dag("dag")
    release = asyncio.Event()
    airflow.faults.add(faults.held_until(release), Kind.DAG, times=1)
    reads = [asyncio.create_task(api.dag("dag")) for _ in range(3)]
    await eventually(lambda: airflow.count(Kind.DAG) == 2)

    airflow.accounts.expire()
    await api.trigger("dag", "a", {})
    airflow.accounts.expire()
    release.set()

    assert [dag.dag_id for dag in await asyncio.gather(*reads)] == ["dag"] * 3
    assert airflow.count(Kind.TOKEN) == 3
