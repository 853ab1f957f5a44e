"""What Prometheus gets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults, steps
from integration.cases import ROUNDS
from integration.gateway import Gateway, running, settings_for
from integration.run_ids import ours
from integration.scraping import OPENMETRICS, Scraped, get, scrape, scrape_until
from integration.statuses import failure
from integration.waiting import eventually, first_run


async def test_where_the_time_of_calls_goes(airflow: FakeAirflow, gateway: Gateway) -> None:
    """By stage and outcome of each DAG, and how Airflow's answers did."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    airflow.add(Dag("fails", script=[steps.fail("predict")]))
    parked = airflow.add(Dag("parked"))
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=20)
    for _ in range(2):
        await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
    await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id="fails"), timeout=5))
    await eventually(lambda: parked.made)
    await airflow.polls(2)

    during = await scrape_until(
        gateway,
        lambda found: found("dag_inference_calls_in_flight", dag_id="parked", state="waiting"),
    )
    call.cancel()
    after = await scrape_until(
        gateway, lambda found: found("dag_inference_calls_total", outcome="CALLER_LEFT")
    )

    stages = {s.labels["stage"] for s in during.having("dag_inference_stage_seconds_count")}
    assert stages == {
        *("admission", "trigger", "queued", "running", "detection", "value_read", "translation"),
        "unattributed",
    }
    results = "dag_inference_calls_total"
    assert during(results, dag_id="dag", outcome="OK") == 2
    assert during(results, dag_id="fails", outcome="TASK_FAILED") == 1
    assert during("dag_inference_stage_seconds_count", dag_id="dag", stage="trigger") == 2
    requests = "dag_inference_airflow_request_seconds_count"
    assert during(requests, operation="POST /dags/{}/dagRuns", status="200") == 4
    assert during(requests, operation="POST /auth/token", status="201") == 1
    assert during("dag_inference_airflow_up") == 1
    assert during("dag_inference_calls_in_flight", dag_id="parked", state="waiting") == 1
    assert during("dag_inference_calls_in_flight") == 1
    assert during("dag_inference_airflow_token_refreshes_total", outcome="ok") == 1
    for outcome in ("refused", "unanswered"):
        assert during.shown("dag_inference_airflow_token_refreshes_total", outcome=outcome) == 0
    assert during.shown("dag_inference_airflow_account_refused") == 0
    assert during.shown("dag_inference_airflow_breaker_open") == 0
    assert during("dag_inference_watcher_looks_total", kind="calls", outcome="ok") > 0
    for kind in ("calls", "streams", "rounds"):
        assert during.shown("dag_inference_watcher_looks_total", kind=kind, outcome="failed") == 0
    assert during("dag_inference_watcher_interval_seconds", kind="calls") > 0
    assert during("dag_inference_watcher_lag_seconds_count", kind="calls") > 0
    for component in ("metadatabase", "scheduler", "triggerer", "dag_processor"):
        assert during("dag_inference_airflow_component_up", component=component) == 1
    assert during("dag_inference_watcher_runs") == 1
    assert during("dag_inference_build_info") == 1
    assert during("process_resident_memory_bytes") > 0
    for dag_id in ("parked", "other"):
        assert after.shown("dag_inference_calls_in_flight", dag_id=dag_id) == 0
    assert after.shown("dag_inference_watcher_runs") == 0


async def test_dags_have_series_in_the_order_of_their_calls(airflow: FakeAirflow) -> None:
    """Also where one call follows the other at once."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    airflow.add(Dag("fails", script=[steps.fail("predict")]))
    async with running(settings_for(airflow, metrics_dags=1)) as gateway:
        await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
        await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id="fails"), timeout=5))
        found = await scrape(gateway)

    assert found("dag_inference_calls_total", outcome="OK", dag_id="dag") == 1
    assert found("dag_inference_calls_total", outcome="TASK_FAILED", dag_id="other") == 1


async def test_tasks_of_the_event_loop(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Each call has some, and when it has ended they are as many as before."""
    dag = airflow.add(Dag("parked"))
    await gateway.ready()

    async def tasks() -> float:
        # The fake's own are in the same event loop, and live as long as its connections do.
        return (await scrape(gateway))("dag_inference_tasks") - airflow.connections

    before = await tasks()
    calls = [gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=20) for _ in range(20)]
    await eventually(lambda: len(dag.made) == len(calls))
    during = await tasks()
    for call in calls:
        call.cancel()

    assert during >= before + len(calls)
    async with asyncio.timeout(20):
        while await tasks() > before:
            pass


@pytest.mark.parametrize("settings", [{"default_deadline": 2}], ids=[""])
async def test_how_long_calls_take_that_fail(airflow: FakeAirflow, gateway: Gateway) -> None:
    """By their reason, from when they had a run on; those that were refused took no time."""
    airflow.add(Dag("fails", script=[steps.fail("predict")]))
    airflow.add(Dag("parked"))
    airflow.add(Dag("paused", is_paused=True))
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    stub = gateway.stub
    await stub.Invoke(pb.InvokeRequest(dag_id="dag", request_id="mine", conf_json="{}"), timeout=5)
    other = pb.InvokeRequest(dag_id="dag", request_id="mine", conf_json='{"n": 1}')
    nowhere = pb.WaitRequest(dag_id="dag", run_id=ours("1"))
    failed = [
        await failure(stub.Invoke(pb.InvokeRequest(dag_id="fails"), timeout=5)),
        await failure(stub.Invoke(pb.InvokeRequest(dag_id="parked"))),
        await failure(stub.Invoke(pb.InvokeRequest(dag_id="paused"), timeout=5)),
        await failure(stub.Invoke(other, timeout=5)),
        await failure(stub.Wait(nowhere, timeout=5)),
    ]
    found = await scrape(gateway)

    assert [failed.reason for failed in failed] == [
        *("TASK_FAILED", "DEADLINE_EXCEEDED"),
        *("DAG_PAUSED", "REQUEST_ID_REUSED", "RUN_NOT_FOUND"),
    ]
    name = "dag_inference_time_to_result_seconds"
    counted = found.having(f"{name}_count")
    assert {(s.labels["dag_id"], s.labels["outcome"]): s.value for s in counted} == {
        ("dag", "OK"): 1,
        ("fails", "TASK_FAILED"): 1,
        ("parked", "DEADLINE_EXCEEDED"): 1,
    }
    # Its patience, which is a little shorter than the deadline.
    assert found(f"{name}_sum", outcome="DEADLINE_EXCEEDED") >= 1.5


async def test_what_an_early_answer_saves(airflow: FakeAirflow, gateway: Gateway) -> None:
    """From the answer until the end of the run, once the poll for another call shows that end."""
    early = airflow.add(Dag("early", Task("predict", downstream=["clean"]), Task("clean")))
    parked = airflow.add(Dag("parked"))
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=20)
    answer = gateway.stub.Invoke(
        pb.InvokeRequest(dag_id="early", result_task_ids=["predict"]), timeout=5
    )
    (run,) = await eventually(lambda: early.made)
    run.finish("predict", 1)
    await answer
    saved = "dag_inference_time_saved_seconds"
    before = await scrape(gateway)
    run.end("success")
    after = await scrape_until(gateway, lambda found: found(f"{saved}_count"))
    await eventually(lambda: parked.made)
    call.cancel()

    assert not [*before.having(f"{saved}_count")]
    assert after(f"{saved}_count", dag_id="early") == after(f"{saved}_count") == 1
    assert 0 < after(f"{saved}_sum") < 5


async def test_every_look_counts(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The first one after a rest, too, which has no interval: as many as Airflow was asked."""
    await gateway.ready()
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    for _ in range(2):
        await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
        await airflow.silence()

    found = await scrape(gateway)

    looks = "dag_inference_watcher_looks_total"
    assert found(looks, kind="calls") == airflow.count(Kind.INSTANCES) > 0


@pytest.mark.parametrize("settings", [ROUNDS], ids=[""])
async def test_looks_of_every_kind(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Each kind by itself: for calls, for states on the way, and by id; those that fail apart."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    dag.trigger(ours("1"), {}).run_after -= timedelta(hours=2)
    old = gateway.stub.Wait(pb.WaitRequest(dag_id="dag", run_id=ours("1")), timeout=30)
    stream = gateway.stub.InvokeStream(pb.InvokeRequest(dag_id="dag"), timeout=30)
    kinds, looks = ("calls", "streams", "rounds"), "dag_inference_watcher_looks_total"

    def looked(found: Scraped, outcome: str, more_than: Mapping[str, float]) -> bool:
        return all(found(looks, kind=kind, outcome=outcome) > more_than[kind] for kind in kinds)

    none = dict.fromkeys(kinds, 0.0)
    well = await scrape_until(gateway, lambda found: looked(found, "ok", none))
    airflow.faults.add(faults.html(500), Kind.INSTANCES)
    ill = await scrape_until(gateway, lambda found: looked(found, "failed", none))
    airflow.faults.clear()
    before = {kind: ill(looks, kind=kind, outcome="ok") for kind in kinds}
    again = await scrape_until(gateway, lambda found: looked(found, "ok", before))
    old.cancel()
    stream.cancel()

    assert well.shown(looks, outcome="failed") == 0
    for kind in kinds:
        assert again("dag_inference_watcher_interval_seconds", kind=kind) > 0
        assert again("dag_inference_watcher_lag_seconds_count", kind=kind) > 0
    assert again.values_of("kind") == {*kinds}


async def test_what_calls_in_flight_wait_for(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Their run, its result, the reading of it: one after the other, and each is zero again."""
    await gateway.ready()
    dag, triggered, read = airflow.add(Dag("dag")), asyncio.Event(), asyncio.Event()
    airflow.faults.add(faults.held_until(triggered), Kind.TRIGGER)
    airflow.faults.add(faults.held_until(read), Kind.VALUE)

    name = "dag_inference_calls_in_flight"

    async def alone(dag_id: str, state: str) -> bool:
        of_it = {"dag_id": dag_id, "state": state}
        found = await scrape_until(gateway, lambda found: found(name, **of_it))
        return found(name, **of_it) == found(name) == 1

    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=30)
    # Of a DAG that nobody has seen yet.
    assert await alone("other", "triggering")
    triggered.set()
    assert await alone("dag", "waiting")
    (await first_run(dag)).finish("predict", 1)
    assert await alone("dag", "answering")
    read.set()
    await call
    after = await scrape(gateway)

    assert after.shown(name) == after.shown(name, dag_id="dag", state="answering") == 0


async def test_a_caller_that_goes_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is counted at the DAG of its run, though no call of it was answered yet."""
    dag = airflow.add(Dag("parked"))
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=20)
    await eventually(lambda: dag.made)
    await airflow.polls(2)

    call.cancel()

    counted = await scrape_until(
        gateway, lambda found: found("dag_inference_calls_total", outcome="CALLER_LEFT")
    )
    assert counted("dag_inference_calls_total", outcome="CALLER_LEFT", dag_id="parked") == 1


@pytest.mark.parametrize(
    "settings", [{"max_calls": 1, "max_calls_per_dag": 1, "max_triggers": 1}], ids=[""]
)
async def test_refused_calls(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Are counted by the limit that they met, each of which is there from the beginning."""
    dag = airflow.add(Dag("dag"))
    before = await scrape(gateway)
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=20)
    await eventually(lambda: dag.made)
    for _ in range(2):
        failed = await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5))
        assert failed.reason == "OVERLOADED"
    after = await scrape(gateway)
    call.cancel()

    name = "dag_inference_rejections_total"
    assert {s.labels["reason"] for s in before.having(name)} == {
        *("calls", "calls_per_dag", "triggers", "waits", "streams"),
        *("queue", "shutting_down", "airflow_away"),
    }
    assert before.shown(name) == 0
    assert after(name, reason="calls") == after(name) == 2
    # Of whichever DAG: they are refused before they are read.
    assert after("dag_inference_calls_total", outcome="OVERLOADED", dag_id="other") == 2
    invoke = {"grpc_method": "Invoke", "grpc_type": "unary"}
    assert after("grpc_server_handled_total", grpc_code="ResourceExhausted", **invoke) == 2
    assert after("grpc_server_msg_received_total", **invoke) == 1


@pytest.mark.parametrize(
    ("reason", "settings"),
    [
        ("calls_per_dag", {"max_calls_per_dag": 1}),
        ("triggers", {"max_triggers": 1}),
        ("waits", {"max_calls": 1}),
        ("shutting_down", {"shutdown_grace": 20}),
    ],
)
async def test_why_calls_are_refused(airflow: FakeAirflow, gateway: Gateway, reason: str) -> None:
    """By each of the other limits; `queue` and `airflow_away` are counted where they are met."""
    await gateway.ready()
    run = airflow.add(Dag("dag")).trigger(ours("1"), {})
    invoke = partial(gateway.stub.Invoke, pb.InvokeRequest(dag_id="dag"), timeout=20)
    wait = partial(gateway.stub.Wait, pb.WaitRequest(dag_id="dag", run_id=run.run_id), timeout=20)
    ask = wait if reason == "waits" else invoke
    if reason == "triggers":
        airflow.faults.add(faults.hanging(), Kind.TRIGGER)
    call = ask()
    await eventually(lambda: airflow.count(Kind.TRIGGER, Kind.RUN))
    if reason == "shutting_down":
        gateway.end()

    failed = await failure(ask())
    counted = await scrape(gateway)
    call.cancel()

    assert failed.reason == ("SHUTTING_DOWN" if reason == "shutting_down" else "OVERLOADED")
    name = "dag_inference_rejections_total"
    assert counted(name, reason=reason) == counted(name) == 1


async def test_a_part_of_airflow_is_ill(airflow: FakeAirflow) -> None:
    """It is shown by its name; and nothing at all is, of one that does not say."""
    airflow.faults.add(
        faults.answered(
            b'{"metadatabase":{"status":"healthy"},"scheduler":{"status":"unhealthy"},'
            b'"triggerer":{"status":null}}'
        ),
        Kind.HEALTH,
        times=1,
    )
    async with running(settings_for(airflow)) as gateway:
        await eventually(lambda: airflow.count(Kind.HEALTH))
        name = "dag_inference_airflow_component_up"
        found = await scrape_until(gateway, lambda found: found.values_of("component"))

    assert {s.labels["component"]: s.value for s in found.having(name)} == {
        "metadatabase": 1,
        "scheduler": 0,
    }


async def test_airflow_is_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """What gets no answer has the status `none`, and news of parked calls grows old."""
    await gateway.ready()
    dag = airflow.add(Dag("dag"))
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=20)
    await eventually(lambda: dag.made)
    await airflow.polls(2)
    await airflow.stop()

    up, age = "dag_inference_airflow_up", "dag_inference_watcher_news_age_seconds"
    found = await scrape_until(gateway, lambda found: not found.shown(up))
    later = await scrape_until(gateway, lambda found: found(age) >= 0.5)

    assert found("dag_inference_airflow_request_seconds_count", status="none") > 0
    assert later.shown(up) == 0
    call.cancel()


async def test_openmetrics_with_the_run_as_exemplar(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Who asks for it finds the run of a slow call by its bucket; stages need a trace for that."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)

    _, kind, text = await get(gateway, "/metrics", Accept=OPENMETRICS)
    _, plain, _ = await get(gateway, "/metrics")
    parse: Any = openmetrics
    found = Scraped(parse(text))

    assert kind.startswith("application/openmetrics-text")
    assert plain.startswith("text/plain")
    buckets = found.having("dag_inference_time_to_result_seconds_bucket", dag_id="dag")
    exemplars = [sample.exemplar.labels for sample in buckets if sample.exemplar]
    assert exemplars == [{"run_id": dag.made[0].run_id}]
    stages = found.having("dag_inference_stage_seconds_bucket", stage="running", dag_id="dag")
    assert sum(sample.value for sample in stages if sample.labels["le"] == "+Inf") == 1
    assert not [sample for sample in stages if sample.exemplar]


async def test_the_run_of_a_call_that_failed_as_exemplar(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """If Airflow has shown it: a caller can ask for any."""
    dag = airflow.add(Dag("fails", script=[steps.fail("predict")]))
    await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id="fails"), timeout=5))
    for run_id in ("nope", ours("1")):
        wait = pb.WaitRequest(dag_id="fails", run_id=run_id)
        await failure(gateway.stub.Wait(wait, timeout=5))

    _, _, text = await get(gateway, "/metrics", Accept=OPENMETRICS)
    parse: Any = openmetrics
    found = Scraped(parse(text))

    calls = {
        outcome: [*found.having("dag_inference_calls_total", outcome=outcome)]
        for outcome in ("TASK_FAILED", "RUN_NOT_OURS", "RUN_NOT_FOUND")
    }
    told = {
        outcome: [sample.exemplar and sample.exemplar.labels for sample in samples]
        for outcome, samples in calls.items()
    }
    assert told == {
        "TASK_FAILED": [{"run_id": dag.made[0].run_id}],
        "RUN_NOT_OURS": [None],
        "RUN_NOT_FOUND": [None],
    }
