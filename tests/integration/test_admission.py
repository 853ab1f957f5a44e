"""Too many calls are refused at once, and nothing else is held up by it."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.scraping import scrape, scrape_until
from integration.statuses import Failure, failure
from integration.waiting import eventually, first_run

REQUEST = pb.InvokeRequest(dag_id="dag")


def park(gateway: Gateway, count: int, dag_id: str = "dag") -> list[Any]:
    """Calls whose runs do not end."""
    request = pb.InvokeRequest(dag_id=dag_id)
    return [gateway.stub.Invoke(request, timeout=30) for _ in range(count)]


async def refused(gateway: Gateway, dag_id: str = "dag") -> str:
    """Why one more call is refused."""
    failed = await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id=dag_id), timeout=5))
    assert_overloaded(failed)
    return failed.message


def assert_overloaded(failed: Failure, soonest: int = 2, latest: int = 4) -> None:
    """It says why, and when to come back: to who reads details, and to who has a retry policy."""
    assert (failed.code, failed.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert failed.retry_after is not None
    assert timedelta(seconds=soonest) <= failed.retry_after < timedelta(seconds=latest)
    milliseconds = int(failed.retry_after / timedelta(milliseconds=1))
    assert failed.trailers["grpc-retry-pushback-ms"] == str(milliseconds)


@pytest.mark.parametrize("settings", [{"max_calls": 1}, {"max_calls_per_dag": 1}], ids=str)
async def test_who_is_refused_together_does_not_come_back_together(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """They are told times that lie well apart, at the door and behind it."""
    dag = airflow.add(Dag("dag"))
    parked = park(gateway, 1)
    await eventually(lambda: len(dag.made) == 1)

    refusals = await asyncio.gather(*(failure(call) for call in park(gateway, 100)))

    told = [failed.retry_after for failed in refusals]
    for failed in refusals:
        assert_overloaded(failed)
    assert len(set(told)) == 16
    assert max(Counter(told).values()) == 7
    for call in parked:
        call.cancel()


@pytest.mark.parametrize("settings", [{"max_calls": 3}])
async def test_only_so_many_calls(airflow: FakeAirflow, gateway: Gateway) -> None:
    """One more is refused without a word to Airflow; when one has ended, there is a place."""
    dag = airflow.add(Dag("dag"))
    airflow.add(Dag("other"))
    calls = park(gateway, 3)
    await eventually(lambda: len(dag.made) == 3)
    triggers = airflow.count(Kind.TRIGGER)

    assert "3 calls in flight, which is the limit (MAX_CALLS)" in await refused(gateway, "other")
    assert airflow.count(Kind.TRIGGER) == triggers

    for run in dag.made:
        run.finish("predict", "done")
    await asyncio.gather(*calls)
    again = park(gateway, 1, "other")
    await eventually(lambda: len(airflow.made) == 4)
    assert not again[0].done()


@pytest.mark.parametrize("settings", [{"max_calls": 1, "max_request_bytes": 2**20}])
@pytest.mark.parametrize("request_bytes", [b"\xff", b"\n" * 2 * 2**20], ids=["garbage", "long"])
@pytest.mark.parametrize(
    "method",
    [
        "/dag_inference.v1.DagInference/Invoke",
        "/dag_inference.v1.DagInference/InvokeStream",
        "/inference.GRPCInferenceService/ModelInfer",
    ],
)
async def test_what_is_refused_is_not_read(
    airflow: FakeAirflow, gateway: Gateway, method: str, request_bytes: bytes
) -> None:
    """A full gateway says so whatever it is asked, and so also to what is no request at all."""
    dag = airflow.add(Dag("dag"))
    (call,) = park(gateway, 1)
    run = await first_run(dag)
    ask: Any = gateway.channel.unary_unary(method)

    full = await failure(ask(request_bytes, timeout=5))
    run.finish("predict", "done")
    await call
    free = await failure(ask(request_bytes, timeout=5))

    assert_overloaded(full)
    assert full.metadata == {}
    assert free.reason == "REQUEST_INVALID"


@pytest.mark.parametrize("settings", [{"max_calls_per_dag": 2}])
async def test_only_so_many_calls_of_a_dag(airflow: FakeAirflow, gateway: Gateway) -> None:
    """One DAG does not take the places of the others."""
    dag = airflow.add(Dag("dag"))
    airflow.add(Dag("other", script=[steps.finish("predict", 1)]))
    park(gateway, 2)
    await eventually(lambda: len(dag.made) == 2)

    limit = "2 calls of dag in flight, which is the limit (MAX_CALLS_PER_DAG)"
    assert limit in await refused(gateway)
    answer = await gateway.stub.Invoke(pb.InvokeRequest(dag_id="other"), timeout=5)
    assert MessageToDict(answer.result) == {"return_value": 1}


@pytest.mark.parametrize("settings", [{"max_triggers": 2}])
async def test_only_so_many_triggers_at_once(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A call that waits for its run to be made takes a place of those; once it is made, none."""
    dag = airflow.add(Dag("dag"))
    held = asyncio.Event()
    airflow.faults.add(faults.held_until(held), Kind.TRIGGER)
    park(gateway, 2)
    await eventually(lambda: airflow.count(Kind.TRIGGER) == 2)

    limit = "2 calls that wait for their trigger, which is the limit (MAX_TRIGGERS)"
    assert limit in await refused(gateway)

    held.set()
    triggering = {"state": "triggering"}
    await scrape_until(
        gateway, lambda found: not found.shown("dag_inference_calls_in_flight", **triggering)
    )
    park(gateway, 1)
    await eventually(lambda: len(dag.made) == 3)


@pytest.mark.parametrize("settings", [{"refuse_hopeless": True, "default_deadline": 2}])
async def test_a_call_that_could_only_wait_in_the_queue(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """Is refused, where that is wanted, unless it has its run already."""
    dag = airflow.add(Dag("dag"))
    first = pb.InvokeRequest(dag_id="dag", request_id="first")
    late = [gateway.stub.Invoke(request) for request in (first, REQUEST, REQUEST)]
    failures = [await failure(call) for call in late]
    assert {each.reason for each in failures} == {"DEADLINE_EXCEEDED"}
    # Each is looked for at last, and what became of it is found out when it has its answer.
    await eventually(lambda: airflow.count(Kind.RUN) == 2 * len(late))
    await gateway.health()

    hopeless = gateway.stub.Invoke(REQUEST, timeout=1.2)
    failed = await failure(hopeless)
    patient = gateway.stub.Invoke(REQUEST, timeout=20)
    await eventually(lambda: len(dag.made) == 4)
    (run,) = (run for run in dag.made if run.run_id == failures[0].metadata["run_id"])
    run.finish("predict", 1)
    again = await gateway.stub.Invoke(first, timeout=1.2)
    counted = await scrape(gateway)

    assert_overloaded(failed, 1, 60)
    assert failed.message.startswith("runs of dag have lately been queued for ")
    assert failed.message.endswith(" (REFUSE_HOPELESS)")
    assert again.run.run_id == run.run_id
    rejections = "dag_inference_rejections_total"
    assert counted(rejections, reason="queue") == counted(rejections) == 1
    assert not patient.done()


@pytest.mark.parametrize("settings", [{"refuse_hopeless": True}])
async def test_a_run_that_many_wait_for_counts_once(airflow: FakeAirflow, gateway: Gateway) -> None:
    """One run may be stuck where others are not: it tells nothing of the queue by itself."""
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})
    this = pb.WaitRequest(dag_id="dag", run_id=run.run_id)
    waits = [gateway.stub.Wait(this, timeout=1) for _ in range(5)]
    # Whose word on it comes first is no matter here.
    codes = {(await failure(wait)).code for wait in waits}
    late = await failure(gateway.stub.Invoke(REQUEST, timeout=0.5))

    assert codes == {late.code} == {grpc.StatusCode.DEADLINE_EXCEEDED}


async def test_a_queue_is_no_reason_by_default(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A run is made for every call that may be, however little time it has."""
    dag = airflow.add(Dag("dag"))
    for timeout in (1, 1, 1, 0.7):
        late = await failure(gateway.stub.Invoke(REQUEST, timeout=timeout))
        assert late.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(dag.made) == 4


@pytest.mark.parametrize("settings", [{"max_calls": 1}])
async def test_what_a_full_gateway_still_does(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Waiting for a run, cancelling it, health and the listing get through."""
    dag = airflow.add(Dag("dag"))
    (call,) = park(gateway, 1)
    run = await first_run(dag)
    await refused(gateway)
    this = pb.WaitRequest(dag_id="dag", run_id=run.run_id)

    wait = gateway.stub.Wait(this, timeout=10)
    await eventually(lambda: airflow.count(Kind.RUN) > 0)
    second = await failure(gateway.stub.Wait(this, timeout=10))
    cancel = pb.CancelRequest(dag_id="dag", run_id=run.run_id)
    cancelled = await gateway.stub.Cancel(cancel, timeout=5)
    listed = await gateway.stub.ListDags(pb.ListDagsRequest(), timeout=5)

    assert_overloaded(second)
    assert "calls that wait for runs, which is the limit (MAX_CALLS)" in second.message
    assert second.metadata == {"dag_id": "dag", "run_id": run.run_id}
    assert cancelled.run.run_id == run.run_id
    assert [dag.dag_id for dag in listed.dags] == ["dag"]
    assert await gateway.health() == "SERVING"
    assert {(await failure(each)).reason for each in (call, wait)} == {"RUN_CANCELLED"}


@pytest.mark.parametrize(
    "settings", [{"max_calls": 3}, {"max_calls_per_dag": 3}, {"max_triggers": 3}]
)
async def test_what_gets_through_a_crowd(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The same, while hundreds of callers are refused and come back at once, whichever is full."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    runs = [dag.trigger(ours(str(number)), {}) for number in range(4)]
    runs[0].finish("predict", 1)
    held = asyncio.Event()
    airflow.faults.add(faults.held_until(held), Kind.TRIGGER)
    park(gateway, 3)
    await eventually(lambda: airflow.count(Kind.TRIGGER) == 3)
    refusals: Counter[str] = Counter()

    async def come_back() -> None:
        while True:
            refusals[(await failure(gateway.stub.Invoke(REQUEST, timeout=30))).reason] += 1

    crowd = [asyncio.create_task(come_back()) for _ in range(300)]
    await eventually(lambda: refusals.total() > len(crowd))
    this = pb.WaitRequest(dag_id="dag", run_id=runs[0].run_id)
    for run in runs[1:]:
        before = refusals.total()
        cancel = pb.CancelRequest(dag_id="dag", run_id=run.run_id)
        said, waited, cancelled = await asyncio.gather(
            gateway.health(),
            gateway.stub.Wait(this, timeout=10),
            gateway.stub.Cancel(cancel, timeout=10),
        )
        assert said == "SERVING"
        assert MessageToDict(waited.result) == {"return_value": 1}
        assert cancelled.run.run_id == run.run_id
        assert refusals.total() > before
    for caller in crowd:
        caller.cancel()
    await asyncio.wait(crowd)

    assert refusals.keys() == {"OVERLOADED"}
    assert airflow.count(Kind.TRIGGER) == 3


@pytest.mark.parametrize("settings", [{"max_calls": 20, "max_calls_per_dag": 20}])
async def test_every_place_is_given_back(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Whichever way a call ends: answered, failed, refused by Airflow, left, too late."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    airflow.add(Dag("fails", script=[steps.fail("predict")]))
    airflow.add(Dag("paused", is_paused=True))
    airflow.add(Dag("late"))
    parked = airflow.add(Dag("parked"))

    for _ in range(5):
        before = len(parked.made)
        leaving = park(gateway, 3, "parked")
        late = gateway.stub.Invoke(pb.InvokeRequest(dag_id="late"), timeout=0.2)
        ends = [
            gateway.stub.Invoke(pb.InvokeRequest(dag_id=dag_id), timeout=5)
            for dag_id in ("dag", "fails", "paused", "nowhere", "")
        ]
        await asyncio.gather(*ends, late, return_exceptions=True)
        await eventually(partial(_count, parked, before + 3))
        for call in leaving:
            call.cancel()

    # None of the twenty places is taken any more, once the last have left.
    async def all_places_are_free() -> bool:
        calls = park(gateway, 20, "parked")
        ended, _ = await asyncio.wait(map(asyncio.ensure_future, map(_over, calls)), timeout=0.5)
        for call in calls:
            call.cancel()
        return not ended

    async with asyncio.timeout(20):
        while not await all_places_are_free():
            pass


def _count(dag: Dag, made: int) -> bool:
    return len(dag.made) == made


async def _over(call: Any) -> None:
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await call
