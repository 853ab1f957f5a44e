"""While Airflow is away, new calls are told so at once, and those in flight wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.airflow import TRIALS
from dag_inference_server.inference import open_inference_pb2 as inference_pb
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration import inference
from integration.gateway import Gateway
from integration.inference import well
from integration.run_ids import ours
from integration.scraping import scrape
from integration.statuses import failure
from integration.waiting import eventually, first_run, never

REQUEST = pb.InvokeRequest(dag_id="dag")
DONE = [steps.finish("predict", 1)]
OPEN = "dag_inference_airflow_breaker_open"
UP = "dag_inference_airflow_up"

DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED

OPENLY = Kind.HEALTH, Kind.VERSION
"""What Airflow tells anybody, and proxies that want a login let through."""
WITHOUT_DATABASE = *OPENLY, Kind.TOKEN
"""What Airflow answers from what it holds in memory, or catching that it has no database."""
EVERY = 0.02

INSTEAD = {
    "redirect to a login": (faults.redirected(), ()),
    "redirect, but for health": (faults.redirected(), OPENLY),
    "page of a login": (faults.html(200), ()),
    "page that says it is not there": (faults.html(404), ()),
    # Airflow itself limits nobody.
    "429": (faults.refused(429), ()),
}
"""What a proxy may answer instead, and which requests it lets through."""


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes a fraction of one."""
    monkeypatch.setattr("dag_inference_server.airflow.breaker._SINCE", 10 * EVERY)
    monkeypatch.setattr("dag_inference_server.trials._EVERY", EVERY)
    for name in ("_EVERY", "_EVERY_WHILE_AWAY", "_AGAIN_AFTER"):
        monkeypatch.setattr(f"dag_inference_server.vitals.{name}", EVERY)


async def until(gateway: Gateway, is_open: bool) -> None:
    """Wait until the breaker is open, or closed."""
    async with asyncio.timeout(20):
        while bool((await scrape(gateway)).shown(OPEN)) != is_open:  # noqa: ASYNC110 - by a scrape each time
            await asyncio.sleep(0.02)


async def test_new_calls_are_refused_at_once(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Without asking Airflow, with the time to come back; all recovers by itself."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(REQUEST, timeout=60)
    run = await first_run(dag)
    await airflow.polls(2)
    airflow.faults.add(faults.database_error())
    await until(gateway, is_open=True)
    asked = airflow.count(Kind.DAG, Kind.TRIGGER, Kind.RUN)

    about: Any = {"dag_id": "dag", "run_id": ours("1")}
    stub, models = gateway.stub, inference.stub(gateway)
    metadata = inference_pb.ModelMetadataRequest(name="dag")
    refused = [
        await failure(stub.Invoke(REQUEST, timeout=30)),
        await failure(stub.Wait(pb.WaitRequest(**about), timeout=30)),
        await failure(stub.Cancel(pb.CancelRequest(**about), timeout=30)),
        await failure(stub.DescribeDag(pb.DescribeDagRequest(dag_id="dag"), timeout=30)),
        await failure(stub.ListDags(pb.ListDagsRequest(), timeout=30)),
        await failure(models.ModelMetadata(metadata, timeout=30)),
    ]
    counted = await scrape(gateway)

    assert {each.reason for each in refused} == {"AIRFLOW_UNAVAILABLE"}
    assert all(each.retry_after for each in refused)
    assert {each.message for each in refused} == {"Airflow has not answered for a while"}
    assert refused[1].metadata == refused[2].metadata == about
    assert airflow.count(Kind.DAG, Kind.TRIGGER, Kind.RUN) == asked
    rejections = "dag_inference_rejections_total"
    assert counted(rejections, reason="airflow_away") == counted(rejections) == 2
    assert not call.done()

    airflow.faults.clear()
    await until(gateway, is_open=False)
    run.finish("predict", "at last")
    fresh = gateway.stub.Invoke(REQUEST, timeout=30)
    await eventually(lambda: len(dag.made) == 2)
    dag.made[1].finish("predict", "too")

    assert MessageToDict((await call).result) == {"return_value": "at last"}
    assert MessageToDict((await fresh).result) == {"return_value": "too"}


@pytest.mark.parametrize("settings", [{"airflow_timeout": 60}], ids=[""])
@pytest.mark.parametrize("apart", [0, 1 / 8], ids=["at once", "one after another"])
async def test_airflow_hangs(airflow: FakeAirflow, gateway: Gateway, apart: float) -> None:
    """It takes requests and answers none: new calls are refused, though nothing ever failed.

    Nor does what calls share fail soon, if there is always one of them that waits for it.
    """
    await gateway.ready()
    airflow.add(Dag("dag"))
    airflow.faults.add(faults.hanging())

    async def call(number: int) -> None:
        await asyncio.sleep(number * apart)
        while True:
            await failure(gateway.stub.Invoke(REQUEST, timeout=1))

    calling = [asyncio.create_task(call(number)) for number in range(8)]
    await until(gateway, is_open=True)
    for each in calling:
        each.cancel()
    refused = await failure(gateway.stub.Invoke(REQUEST, timeout=30))

    assert refused.reason == "AIRFLOW_UNAVAILABLE"
    assert refused.message == "Airflow has not answered for a while"


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("settings", [{"airflow_timeout": 60}], ids=[""])
async def test_airflow_hangs_and_nobody_calls(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The first call is refused at once, which would have waited in vain: its health shows it."""
    await gateway.ready()
    back = asyncio.Event()
    airflow.faults.add(faults.held_until(back))
    await until(gateway, is_open=True)

    refused = await failure(gateway.stub.Invoke(REQUEST, timeout=30))

    assert refused.message == "Airflow has not answered for a while"
    back.set()
    await until(gateway, is_open=False)


async def test_callers_with_little_patience(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who goes away before Airflow can have answered says nothing of Airflow."""
    monkeypatch.setattr("dag_inference_server.airflow.breaker._LONG", 10)
    await gateway.ready()
    airflow.add(Dag("dag"))
    await eventually(lambda: airflow.count(Kind.HEALTH))
    airflow.faults.add(faults.hanging(), Kind.DAG)
    asked, tried = airflow.count(Kind.DAG), airflow.count(Kind.DAGS)
    requests = "dag_inference_airflow_request_seconds_count"

    for _ in range(10):
        await failure(gateway.stub.Invoke(REQUEST, timeout=0.1))

    assert airflow.count(Kind.DAG) > asked
    counted = await scrape(gateway)
    assert counted(requests)
    assert not [*counted.having(requests, status="none")]
    assert (counted.shown(OPEN), counted(UP)) == (0, 1)
    assert airflow.count(Kind.DAGS) == tried


@pytest.mark.parametrize("settings", [{"airflow_timeout": 60}], ids=[""])
async def test_one_request_that_hangs(airflow: FakeAirflow, gateway: Gateway) -> None:
    """However many callers have waited for it: who asks for something else is let in."""
    await gateway.ready()
    airflow.add(Dag("dag"))
    airflow.add(Dag("other", script=DONE))
    airflow.faults.add(faults.hanging(), Kind.DAG, dag_id="dag")
    airflow.faults.add(faults.hanging(), Kind.DAGS, times=1)
    longest = asyncio.create_task(failure(gateway.stub.Invoke(REQUEST, timeout=4)))
    crowd = [failure(gateway.stub.Invoke(REQUEST, timeout=1)) for _ in range(8)]
    assert {failed.code for failed in await asyncio.gather(*crowd)} == {DEADLINE_EXCEEDED}
    await longest
    seen = await scrape(gateway)

    response = await gateway.stub.Invoke(pb.InvokeRequest(dag_id="other"), timeout=20)

    assert MessageToDict(response.result) == {"return_value": 1}
    assert not seen.shown(OPEN)


async def test_one_kind_of_request_that_fails(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is not Airflow being away, as long as others are answered."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(REQUEST, timeout=60)
    await first_run(dag)
    airflow.faults.add(faults.database_error(), Kind.VALUE)
    dag.made[0].finish("predict", 1)
    await eventually(lambda: airflow.count(Kind.VALUE) > 5)
    seen: list[float] = []

    async def look() -> None:
        while True:
            seen.append((await scrape(gateway)).shown(OPEN))

    looking = asyncio.create_task(look())
    await never(lambda: any(seen), within=1)
    looking.cancel()
    airflow.faults.clear()

    assert MessageToDict((await call).result) == {"return_value": 1}


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("name", INSTEAD)
async def test_what_is_no_answer(airflow: FakeAirflow, gateway: Gateway, name: str) -> None:
    """Of Airflow's keeps new calls away as silence does: each would ask in vain."""
    fault, spared = INSTEAD[name]
    await gateway.ready()
    for kind in {*Kind} - {*spared}:
        airflow.faults.add(fault, kind)
    await _stays_away(airflow, gateway)


@pytest.mark.usefixtures("_soon")
async def test_a_page_in_the_place_of_a_value(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is no answer either, of which a call that reads its value is told many."""
    await gateway.ready()
    dag = airflow.add(Dag("waits"))
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="waits"), timeout=60)
    run = await first_run(dag)
    airflow.faults.add(faults.html(200), Kind.VALUE)
    run.finish("predict", 1)
    await eventually(lambda: airflow.count(Kind.VALUE))
    for kind in {*Kind} - {Kind.VALUE}:
        airflow.faults.add(faults.html(200), kind)
    await _stays_away(airflow, gateway)

    assert MessageToDict((await call).result) == {"return_value": 1}


@pytest.mark.usefixtures("_soon")
async def test_the_database_is_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Airflow's own health says so, and says it with a 200: that is no answer to calls."""
    await gateway.ready()
    for kind in {*Kind} - {*WITHOUT_DATABASE}:
        airflow.faults.add(faults.database_error(), kind)
    airflow.faults.add(faults.ill("metadatabase"), Kind.HEALTH)
    await _stays_away(airflow, gateway)


async def _stays_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """One call tells it, and until it is over, the gateway lets none through."""
    airflow.add(Dag("dag", script=DONE))
    first = await failure(gateway.stub.Invoke(REQUEST, timeout=30))
    await until(gateway, is_open=True)
    looks = airflow.count(Kind.HEALTH)
    while airflow.count(Kind.HEALTH) < looks + 5:
        seen = await scrape(gateway)
        assert (seen(OPEN), seen(UP)) == (1, 0)
    refused = await failure(gateway.stub.Invoke(REQUEST, timeout=30))
    airflow.faults.clear()
    await until(gateway, is_open=False)

    assert first.reason == refused.reason == "AIRFLOW_UNAVAILABLE"
    assert first.retry_after
    assert refused.retry_after
    assert refused.message == "Airflow has not answered for a while"
    response = await gateway.stub.Invoke(REQUEST, timeout=30)
    assert MessageToDict(response.result) == {"return_value": 1}


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("fault", [faults.refused(503), faults.html(404)], ids=["503", "404"])
async def test_health_alone_is_not_answered(
    airflow: FakeAirflow, gateway: Gateway, fault: faults.Fault
) -> None:
    """A proxy that hides it keeps no call away, also when there has been none for long."""
    await gateway.ready()
    airflow.faults.add(fault, Kind.HEALTH)
    looks = airflow.count(Kind.HEALTH)
    while airflow.count(Kind.HEALTH) < looks + 30:
        seen = await scrape(gateway)
        assert (seen(OPEN), seen(UP)) == (0, 1)


@pytest.mark.usefixtures("_soon")
async def test_the_log_has_why_health_is_not_told(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside that Airflow does not tell it."""
    written = structlog.testing.CapturingLogger()
    monkeypatch.setattr("dag_inference_server.vitals.log", written)
    await well(gateway)

    airflow.faults.add(faults.refused(503), Kind.HEALTH)
    (told,) = await eventually(
        lambda: [c for c in written.calls if c.args == ("airflow_does_not_say_how_it_is",)]
    )

    assert told.kwargs == {"error": "AIRFLOW_UNAVAILABLE: Airflow answers 503"}


@pytest.mark.usefixtures("_soon")
async def test_a_slow_airflow(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes longer than its health is waited for, and not AIRFLOW_TIMEOUT, is not away."""
    monkeypatch.setattr("dag_inference_server.airflow.breaker._SINCE", 2.0)
    monkeypatch.setattr("dag_inference_server.airflow.api._HEALTH_WITHIN", EVERY)
    await gateway.ready()
    airflow.faults.add(faults.delayed(5 * EVERY))
    looks = airflow.count(Kind.HEALTH)
    while airflow.count(Kind.HEALTH) < looks + 30:
        assert not (await scrape(gateway))(OPEN)


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("name", ["from the start", "later"])
async def test_the_account_is_refused(airflow: FakeAirflow, gateway: Gateway, name: str) -> None:
    """Which is no silence: calls are told so, for as long as it is."""
    if name == "later":
        await gateway.ready()
    airflow.add(Dag("dag"))
    airflow.accounts.password = "another"
    airflow.accounts.expire()
    airflow.faults.add(faults.refused(503), Kind.HEALTH)
    looks = airflow.count(Kind.HEALTH)
    while airflow.count(Kind.HEALTH) < looks + 30:
        assert not (await scrape(gateway)).shown(OPEN)

    refused = await failure(gateway.stub.Invoke(REQUEST, timeout=30))

    assert refused.reason == "AIRFLOW_DENIED"


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("settings", [{"airflow_timeout": 60}], ids=[""])
async def test_what_was_lost_while_airflow_was_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is not waited for: Airflow is tried anew, and calls are let in as soon as it answers."""
    await gateway.ready()
    airflow.add(Dag("dag", script=DONE))
    airflow.faults.add(faults.hanging())
    await until(gateway, is_open=True)
    tried = airflow.count(Kind.DAGS)
    await eventually(lambda: airflow.count(Kind.DAGS) > tried + 2 * TRIALS)

    airflow.faults.clear()
    await until(gateway, is_open=False)

    response = await gateway.stub.Invoke(REQUEST, timeout=20)
    assert MessageToDict(response.result) == {"return_value": 1}


@pytest.mark.usefixtures("_soon")
async def test_a_slow_airflow_whose_callers_leave(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it can answer: none of their calls is answered, and others are let in."""
    monkeypatch.setattr("dag_inference_server.airflow.breaker._LONG", EVERY)
    await gateway.ready()
    airflow.add(Dag("dag"))
    airflow.faults.add(faults.delayed(50 * EVERY))
    # So slow is what it is known to be.
    await gateway.stub.ListDags(pb.ListDagsRequest(), timeout=30)

    async def leave() -> None:
        while True:
            await failure(gateway.stub.Invoke(REQUEST, timeout=40 * EVERY))

    leaving = [asyncio.create_task(leave()) for _ in range(8)]
    tried = airflow.count(Kind.DAGS)
    while airflow.count(Kind.DAGS) < tried + 60:
        assert not (await scrape(gateway)).shown(OPEN)
    for each in leaving:
        each.cancel()

    listed = await gateway.stub.ListDags(pb.ListDagsRequest(), timeout=30)
    assert [dag.dag_id for dag in listed.dags] == ["dag"]


@pytest.mark.usefixtures("_soon")
async def test_nothing_more_is_asked(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Of an Airflow that answers."""
    await gateway.ready()
    asked = airflow.count(Kind.DAGS)
    looks = airflow.count(Kind.HEALTH)
    await eventually(lambda: airflow.count(Kind.HEALTH) > looks + 5)
    assert airflow.count(Kind.DAGS) == asked
