"""What becomes of a run that its callers have left: it goes on, or is ended if they wanted that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.gateway import Gateway, running, settings_for
from integration.run_ids import ours
from integration.scraping import scrape_until
from integration.statuses import ended, failure
from integration.waiting import eventually, first_run, never

DISCONNECT = pb.ON_DISCONNECT_CANCEL
DEADLINE = pb.ON_DEADLINE_CANCEL


def request(request_id: str = "", **options: Any) -> pb.InvokeRequest:
    """A call of the DAG."""
    return pb.InvokeRequest(dag_id="dag", request_id=request_id, **options)


Way = Callable[[Gateway, pb.InvokeRequest, float | None], Any]

WAYS: dict[str, Way] = {
    "unary": lambda gateway, asked, timeout: gateway.stub.Invoke(asked, timeout=timeout),
    "stream": lambda gateway, asked, timeout: gateway.stub.InvokeStream(asked, timeout=timeout),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_that_is_cancelled(airflow: FakeAirflow, gateway: Gateway, way: str) -> None:
    """With `on_disconnect = CANCEL` the run is ended, and its note says why."""
    dag = airflow.add(Dag("dag"))
    call = WAYS[way](gateway, request(on_disconnect=DISCONNECT), 30)
    run = await first_run(dag)
    await airflow.polls(2)

    call.cancel()

    await eventually(lambda: run.state == "failed")
    assert run.note == "dag-inference: cancelled because its caller went away"
    await airflow.silence()


async def test_a_connection_that_breaks(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The same when the connection is closed with the call on it."""
    dag = airflow.add(Dag("dag"))
    channel = grpc.aio.insecure_channel(
        f"127.0.0.1:{gateway.serving.port}", [("grpc.use_local_subchannel_pool", 1)]
    )
    asked = request(on_disconnect=DISCONNECT)
    call = asyncio.ensure_future(ended(WAYS["unary"](replace(gateway, channel=channel), asked, 30)))
    run = await first_run(dag)

    await channel.close()

    await call
    await eventually(lambda: run.state == "failed")


@pytest.mark.parametrize("settings", [{"default_deadline": 1}], ids=[""])
@pytest.mark.parametrize("way", WAYS)
async def test_a_deadline_that_passes(airflow: FakeAirflow, gateway: Gateway, way: str) -> None:
    """With `on_deadline = CANCEL` the caller still gets run id and state, and the run is ended."""
    dag = airflow.add(Dag("dag"))
    call = WAYS[way](gateway, request(on_deadline=DEADLINE), None)

    failed = await failure(call if way == "unary" else _read(call))

    run = dag.made[0]
    assert (failed.code, failed.reason) == (StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert failed.metadata == {"dag_id": "dag", "run_id": run.run_id, "run_state": "queued"}
    assert failed.message.endswith("and it is ended unless others wait")
    await eventually(lambda: run.state == "failed")
    assert run.note == "dag-inference: cancelled because the deadline of its call passed"


@pytest.mark.parametrize(
    ("options", "by_deadline"),
    [
        ({}, True),
        ({}, False),
        ({"on_disconnect": DISCONNECT}, True),
        ({"on_deadline": DEADLINE}, False),
    ],
)
async def test_runs_that_are_kept(
    airflow: FakeAirflow, gateway: Gateway, options: dict[str, Any], by_deadline: bool
) -> None:
    """Neither option does the other's work, and without them the run goes on."""
    dag = airflow.add(Dag("dag"))
    if by_deadline:
        while not dag.made:
            await ended(gateway.stub.Invoke(request(**options), timeout=0.5))
    else:
        call = gateway.stub.Invoke(request(**options), timeout=30)
        await first_run(dag)
        await airflow.polls(2)
        call.cancel()

    await airflow.silence()
    assert airflow.count(Kind.PATCH_RUN) == 0
    assert {run.state for run in dag.made} == {"queued"}


async def test_not_while_another_call_waits(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The run is ended when the last of its calls has left, and not under the others."""
    dag = airflow.add(Dag("dag"))
    leaves = gateway.stub.Invoke(request("mine", on_disconnect=DISCONNECT), timeout=30)
    run = await first_run(dag)
    stays = gateway.stub.Invoke(request("mine"), timeout=30)
    watches = gateway.stub.Watch(pb.WaitRequest(dag_id="dag", run_id=run.run_id), timeout=30)
    await watches.read()
    await eventually(lambda: airflow.count(Kind.TRIGGER) == 2)

    leaves.cancel()
    watches.cancel()
    await never(lambda: airflow.count(Kind.PATCH_RUN), within=0.3)
    stays.cancel()

    await eventually(lambda: run.state == "failed")


async def test_not_after_another_call_got_the_result(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """What goes on after the result, such as a clean-up, is not the leaver's to end."""
    dag = airflow.add(Dag("dag"))
    leaves = gateway.stub.Invoke(request("mine", on_disconnect=DISCONNECT), timeout=30)
    run = await first_run(dag)
    stays = gateway.stub.Invoke(request("mine"), timeout=30)
    await eventually(lambda: airflow.count(Kind.TRIGGER) == 2)
    await airflow.polls(2)
    leaves.cancel()
    await airflow.polls(2)

    run.finish("predict", 1)

    await stays
    await airflow.silence()
    assert run.state == "running"


async def test_before_the_trigger_is_answered(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Whether there is a run is found out first; then it is ended."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    release = asyncio.Event()
    airflow.faults.add(faults.held_until(release), Kind.TRIGGER)
    call = gateway.stub.Invoke(request(on_disconnect=DISCONNECT), timeout=30)
    await eventually(lambda: airflow.count(Kind.TRIGGER))

    call.cancel()
    await ended(call)
    await never(lambda: dag.made or airflow.count(Kind.PATCH_RUN), within=0.2)
    release.set()

    await eventually(lambda: dag.made and dag.made[0].state == "failed")
    await airflow.silence()
    assert airflow.count(Kind.TRIGGER) == 1


async def test_a_trigger_whose_answer_is_lost(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It is repeated although the caller has left, because the first may have made a run."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    release = asyncio.Event()
    airflow.faults.add(faults.lost_after(release), Kind.TRIGGER, times=1)
    call = gateway.stub.Invoke(request(on_disconnect=DISCONNECT), timeout=30)
    await eventually(lambda: dag.made)

    call.cancel()
    release.set()

    await eventually(lambda: dag.made[0].state == "failed")
    assert len(dag.made) == 1


async def test_triggers_that_were_not_sent_yet(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Callers that leave while theirs waits for its turn make no run, and cost Airflow nothing."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    release = asyncio.Event()
    airflow.faults.add(faults.held_until(release), Kind.TRIGGER)
    asked = request(on_disconnect=DISCONNECT)
    calls = [gateway.stub.Invoke(asked, timeout=30) for _ in range(100)]
    await eventually(lambda: airflow.count(Kind.TRIGGER) == 4)

    for call in calls:
        call.cancel()
    await asyncio.gather(*map(ended, calls))
    # The gateway hears of it later than the callers.
    in_flight = "dag_inference_calls_in_flight"
    await scrape_until(gateway, lambda found: not found.shown(in_flight))
    release.set()

    await eventually(lambda: airflow.count(Kind.PATCH_RUN) == 4)
    await airflow.silence()
    assert len(dag.made) == airflow.count(Kind.TRIGGER) == 4
    assert {run.state for run in dag.made} == {"failed"}


async def test_airflow_is_away_when_the_caller_leaves(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """The run is ended once Airflow answers again."""
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(request(on_disconnect=DISCONNECT), timeout=30)
    run = await first_run(dag)
    await airflow.polls(2)
    airflow.faults.add(faults.database_error())
    call.cancel()
    await eventually(lambda: airflow.count(Kind.RUN) > 4)

    airflow.faults.clear()

    await eventually(lambda: run.state == "failed")


@pytest.mark.parametrize("request_id", ["", "mine"])
async def test_the_trigger_is_never_answered(
    airflow: FakeAirflow, gateway: Gateway, request_id: str
) -> None:
    """The run that it made is found once Airflow answers again, and ended."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    airflow.faults.add(faults.database_error(), Kind.TRIGGER)
    airflow.faults.add(faults.lost(), Kind.TRIGGER, times=1)
    airflow.faults.add(faults.database_error(), Kind.RUN)
    call = gateway.stub.Invoke(request(request_id, on_disconnect=DISCONNECT), timeout=30)
    run = await first_run(dag)
    call.cancel()
    await eventually(lambda: airflow.count(Kind.RUN) > 1)

    airflow.faults.clear()

    await eventually(lambda: run.state == "failed")
    assert len(dag.made) == 1


async def test_a_crowd_leaves(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes to end all of their runs: only a run's own turns count."""
    monkeypatch.setattr("dag_inference_server.ending.attendance._GIVE_UP_AFTER", 0.2)
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    calls = [gateway.stub.Invoke(request(on_disconnect=DISCONNECT), timeout=30) for _ in range(20)]
    await eventually(lambda: len(dag.made) == 20)
    await airflow.polls(2)
    airflow.faults.add(faults.delayed(0.05), Kind.PATCH_RUN)

    for call in calls:
        call.cancel()

    await eventually(lambda: {run.state for run in dag.made} == {"failed"})


async def test_somebody_comes_while_airflow_is_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Who attaches before the run could be ended keeps it, until that call has left, too."""
    dag = airflow.add(Dag("dag"))
    leaves = gateway.stub.Invoke(request("mine", on_disconnect=DISCONNECT), timeout=30)
    run = await first_run(dag)
    await airflow.polls(2)
    airflow.faults.add(faults.database_error(), Kind.PATCH_RUN)
    leaves.cancel()
    await eventually(lambda: airflow.count(Kind.PATCH_RUN))
    comes = gateway.stub.Invoke(request("mine"), timeout=30)
    await eventually(lambda: airflow.count(Kind.TRIGGER) == 2)
    await airflow.polls(2)

    airflow.faults.clear()

    patches = airflow.count(Kind.PATCH_RUN)
    await never(lambda: run.state == "failed", within=1.5)
    assert airflow.count(Kind.PATCH_RUN) <= patches + 4
    comes.cancel()
    await eventually(lambda: run.state == "failed")


@pytest.mark.parametrize("kind", [Kind.TRIGGER, Kind.RUN])
async def test_a_request_id_of_another_call(
    airflow: FakeAirflow, gateway: Gateway, kind: Kind
) -> None:
    """A call whose request id was used with another conf ends nothing when it leaves."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    first = gateway.stub.Invoke(request("mine", conf_json='{"a": 1}'), timeout=30)
    run = await first_run(dag)
    await airflow.polls(2)
    first.cancel()
    release = asyncio.Event()
    airflow.faults.add(faults.held_until(release), kind)
    count = airflow.count(kind)
    asked = request("mine", conf_json='{"a": 2}', on_disconnect=DISCONNECT)
    second = gateway.stub.Invoke(asked, timeout=30)
    await eventually(lambda: airflow.count(kind) > count)

    second.cancel()
    release.set()

    await airflow.silence()
    assert airflow.count(Kind.PATCH_RUN) == 0
    assert run.state == "queued"


async def test_a_gateway_that_ends(airflow: FakeAirflow) -> None:
    """It is not the caller that goes away then: the run goes on, for another replica."""
    dag = airflow.add(Dag("dag"))
    async with running(settings_for(airflow)) as gateway:
        asked = request(on_disconnect=DISCONNECT, on_deadline=DEADLINE)
        call = asyncio.ensure_future(ended(gateway.stub.Invoke(asked, timeout=30)))
        run = await first_run(dag)
        await airflow.polls(2)
        gateway.end()
        await call

    assert airflow.count(Kind.PATCH_RUN) == 0
    assert run.state == "queued"


async def test_a_run_that_ended_meanwhile(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It stays as it is."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    release = asyncio.Event()
    airflow.faults.add(faults.held_until(release), Kind.VALUE)
    call = gateway.stub.Invoke(request(on_disconnect=DISCONNECT), timeout=30)
    await eventually(lambda: airflow.count(Kind.VALUE))
    dag.made[0].end("success")

    call.cancel()

    await eventually(lambda: airflow.count(Kind.RUN))
    release.set()
    await airflow.silence()
    assert dag.made[0].state == "success"


@pytest.mark.parametrize("method", ["Wait", "Watch"])
async def test_attached_calls_can_want_it_too(
    airflow: FakeAirflow, gateway: Gateway, method: str
) -> None:
    """`Wait` and `Watch` have the same two options."""
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})
    asked = pb.WaitRequest(dag_id="dag", run_id=ours("1"), on_disconnect=DISCONNECT)
    call = getattr(gateway.stub, method)(asked, timeout=30)
    await eventually(lambda: airflow.count(Kind.RUN))
    await airflow.polls(2)

    call.cancel()

    await eventually(lambda: run.state == "failed")


async def _read(call: Any) -> None:
    async for _ in call:
        pass
