"""A gateway that goes away loses no call: each ends with its result, or with where it goes on."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, suppress
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dag_inference import AsyncDagInferenceClient
from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from fakes.http2 import taking_nothing
from integration.gateway import Gateway, running, settings_for
from integration.run_ids import ours
from integration.statuses import failure
from integration.waiting import eventually, first_run, never

REQUEST = pb.InvokeRequest(dag_id="dag")


@pytest.mark.parametrize("settings", [{"shutdown_grace": 20}])
async def test_calls_in_flight_may_finish(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Within the grace, while new ones are refused and health says so."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(REQUEST, timeout=30)
    run = await first_run(dag)
    await airflow.polls(2)

    gateway.end()
    refused = await failure(gateway.stub.Invoke(REQUEST, timeout=5))
    run.finish("predict", "in time")
    answer = await call

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert refused.retry_after is not None
    assert refused.metadata == {"dag_id": "dag"}
    assert MessageToDict(answer.result) == {"return_value": "in time"}
    assert len(dag.made) == 1


@pytest.mark.parametrize("settings", [{"shutdown_grace": 20}])
async def test_a_cancel_may_finish(airflow: FakeAirflow, gateway: Gateway) -> None:
    """As any other call of the service: nothing that was taken in is cut off before its time."""
    await gateway.ready()
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})
    release = asyncio.Event()
    airflow.faults.add(faults.held_until(release), Kind.PATCH_RUN)
    call = gateway.stub.Cancel(pb.CancelRequest(dag_id="dag", run_id=run.run_id), timeout=15)
    await eventually(lambda: airflow.count(Kind.PATCH_RUN))

    gateway.end()
    await _says_no(gateway)
    # Longer than it takes to send what is on its way out.
    await never(call.done, within=1.2)
    release.set()

    assert (await call).run.state == pb.RUN_STATE_FAILED


@pytest.mark.parametrize("settings", [{"shutdown_grace": 20}])
async def test_health_says_that_it_goes_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Before any connection is told to."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(REQUEST, timeout=30)
    run = await first_run(dag)

    gateway.end()

    await _says_no(gateway)
    run.finish("predict", 1)
    await call


@pytest.mark.parametrize("settings", [{"shutdown_delay": 30, "shutdown_grace": 30}])
async def test_with_a_delay_new_calls_are_still_taken(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """While health says no already: a proxy that goes by health needs a while to notice."""
    await gateway.ready()
    airflow.add(Dag("dag", script=[steps.finish("predict", "late")]))

    gateway.end()
    await _says_no(gateway)
    answer = await gateway.stub.Invoke(REQUEST, timeout=5)

    assert MessageToDict(answer.result) == {"return_value": "late"}
    gateway.serving.hurry()


@pytest.mark.parametrize("settings", [{"shutdown_delay": 1, "shutdown_grace": 20}])
async def test_after_the_delay_they_are_refused(airflow: FakeAirflow, gateway: Gateway) -> None:
    """And those in flight have the grace, as without a delay."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(REQUEST, timeout=30)
    run = await first_run(dag)
    unknown = pb.InvokeRequest(dag_id="unknown")

    gateway.end()
    reasons = []
    async with asyncio.timeout(10):
        while "SHUTTING_DOWN" not in reasons:
            reasons.append((await failure(gateway.stub.Invoke(unknown, timeout=5))).reason)
    run.finish("predict", "in time")

    assert set(reasons[:-1]) == {"DAG_NOT_FOUND"}
    assert MessageToDict((await call).result) == {"return_value": "in time"}


@pytest.mark.parametrize("settings", [{"shutdown_grace": 1}])
@pytest.mark.parametrize("on_deadline", [pb.ON_DEADLINE_KEEP, pb.ON_DEADLINE_CANCEL])
async def test_the_rest_are_told_where_to_come_back(
    airflow: FakeAirflow, gateway: Gateway, on_deadline: pb.OnDeadline.ValueType
) -> None:
    """Each gets its run id, and the runs go on, whatever the calls said of their deadlines."""
    dag = airflow.add(Dag("dag"))
    request = pb.InvokeRequest(
        dag_id="dag", on_deadline=on_deadline, on_disconnect=pb.ON_DISCONNECT_CANCEL
    )
    calls = [gateway.stub.Invoke(request, timeout=60) for _ in range(300)]
    await eventually(lambda: len(dag.made) == 300)
    await airflow.polls(3)

    gateway.end()
    failures = [await failure(call) for call in calls]

    assert {(each.code, each.reason) for each in failures} == {
        (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    }
    assert {each.metadata["run_id"] for each in failures} == {run.run_id for run in dag.made}
    assert airflow.count(Kind.PATCH_RUN) == 0


@pytest.mark.parametrize("settings", [{"shutdown_grace": 1}])
async def test_a_trigger_that_is_unanswered_then(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The run may exist or not: the message says so and names it, and there is no run id."""
    airflow.add(Dag("dag"))
    airflow.faults.add(faults.hanging(), Kind.TRIGGER)
    call = gateway.stub.Invoke(REQUEST, timeout=60)
    await eventually(lambda: airflow.count(Kind.TRIGGER))

    gateway.end()
    failed = await failure(call)

    assert (failed.reason, failed.metadata) == ("SHUTTING_DOWN", {"dag_id": "dag"})
    assert re.search(r"; run grpc-[0-9a-f]{32} may exist or not; ", failed.message)


@pytest.mark.parametrize("settings", [{"shutdown_grace": 1}])
async def test_a_stream_is_told_as_well(airflow: FakeAirflow, gateway: Gateway) -> None:
    """After the events before it."""
    airflow.add(Dag("dag"))
    stream = gateway.stub.InvokeStream(REQUEST, timeout=60)
    first = await stream.read()
    assert isinstance(first, pb.InvokeStreamResponse)

    gateway.end()

    async def read_on() -> None:
        while await stream.read() is not grpc.aio.EOF:
            pass

    failed = await failure(read_on())
    assert failed.reason == "SHUTTING_DOWN"
    assert failed.metadata["run_id"] == first.accepted.run.run_id


@pytest.mark.parametrize("settings", [{"shutdown_grace": 600}])
async def test_a_second_signal_gives_no_more_time(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The calls that are left get their status at once."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(REQUEST, timeout=60)
    await first_run(dag)

    gateway.end()
    await failure(gateway.stub.Invoke(REQUEST, timeout=5))
    gateway.serving.hurry()
    failed = await failure(call)

    assert failed.reason == "SHUTTING_DOWN"


@pytest.mark.parametrize("settings", [{"shutdown_grace": 600}])
@pytest.mark.parametrize("method", ["Cancel", "ListDags"])
async def test_what_waits_for_no_run_is_told_as_well(
    airflow: FakeAirflow, gateway: Gateway, method: str
) -> None:
    """Whatever of the service is under way gets a coded answer, after a second signal at once."""
    await gateway.ready()
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})
    airflow.faults.add(faults.hanging(), Kind.PATCH_RUN)
    airflow.faults.add(faults.hanging(), Kind.DAGS)
    request: Any = pb.ListDagsRequest()
    if method == "Cancel":
        request = pb.CancelRequest(dag_id="dag", run_id=run.run_id)
    call = getattr(gateway.stub, method)(request, timeout=100)
    await eventually(lambda: airflow.count(Kind.PATCH_RUN) + airflow.count(Kind.DAGS))

    gateway.end()
    await failure(gateway.stub.Invoke(REQUEST, timeout=5))
    gateway.serving.hurry()
    failed = await failure(call)

    assert failed.reason == "SHUTTING_DOWN"
    assert failed.metadata.get("run_id") == (run.run_id if method == "Cancel" else None)


async def test_nobody_who_reads_nothing_holds_it_up(airflow: FakeAirflow) -> None:
    """Health says that it goes away, and new calls are refused, whoever watches and is deaf."""
    async with (
        AsyncExitStack() as deaf,
        asyncio.timeout(30),
        running(settings_for(airflow, shutdown_grace=1)) as gateway,
    ):
        await gateway.ready()
        watch = taking_nothing(gateway.serving.port, "/grpc.health.v1.Health/Watch")
        await deaf.enter_async_context(watch)
        gateway.end()
        refused = await failure(gateway.stub.Invoke(REQUEST, timeout=5))

    assert refused.reason == "SHUTTING_DOWN"


@pytest.mark.parametrize("settings", [{"shutdown_grace": 600}])
async def test_an_idle_gateway_does_not_use_its_grace(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """Nor does somebody who watches its health keep it."""
    await gateway.ready()
    health: Any = health_pb2_grpc.HealthStub(gateway.channel)
    watching = health.Watch(health_pb2.HealthCheckRequest())
    states = [(await watching.read()).status]

    gateway.end()

    async def watch_on() -> None:
        while (news := await watching.read()) is not grpc.aio.EOF:
            states.append(news.status)

    async with asyncio.timeout(10):
        with suppress(grpc.aio.AioRpcError):
            await watch_on()
    state = health_pb2.HealthCheckResponse
    assert states == [state.SERVING, state.NOT_SERVING]


async def test_the_client_goes_on_at_another_replica(airflow: FakeAirflow) -> None:
    """A call attaches to its run there, and one that comes late begins there."""
    dag = airflow.add(Dag("dag"))
    async with (
        running(settings_for(airflow)) as stays,
        running(settings_for(airflow, shutdown_grace=1)) as goes,
    ):
        ports = ",".join(f"127.0.0.1:{each.serving.port}" for each in (goes, stays))
        async with AsyncDagInferenceClient(f"ipv4:{ports}") as client:
            call = asyncio.create_task(client.invoke("dag", timeout=60))
            run = await first_run(dag)
            goes.end()
            await eventually(lambda: airflow.count(Kind.RUN) > 0)
            late = asyncio.create_task(client.invoke("dag", timeout=60))
            await eventually(lambda: len(dag.made) == 2)
            run.finish("predict", "first")
            dag.made[1].finish("predict", "second")
            answers = [await call, await late]

    assert answers == [{"return_value": "first"}, {"return_value": "second"}]
    assert len(dag.made) == 2


async def _says_no(gateway: Gateway) -> None:
    """Wait until health says that the gateway goes away."""
    async with asyncio.timeout(5):
        while await gateway.health() != "NOT_SERVING":  # noqa: ASYNC110 - by a call each time
            await asyncio.sleep(0.01)
