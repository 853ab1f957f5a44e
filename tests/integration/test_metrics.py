"""What Prometheus gets, and what probes are told."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.server import CannotListen
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults, steps
from integration.gateway import Gateway, running, settings_for
from integration.run_ids import ours
from integration.scraping import OPENMETRICS, Scraped, get, scrape
from integration.statuses import failure
from integration.waiting import eventually


def method(name: str, kind: str = "unary") -> dict[str, str]:
    """The labels of a method of ours."""
    return {
        "grpc_type": kind,
        "grpc_service": "dag_inference.v1.DagInference",
        "grpc_method": name,
    }


async def test_the_families_that_every_board_knows(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Begun, handled by Go's names of the codes, messages and times: of every kind of method."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    parked = airflow.add(Dag("parked"))
    before = await scrape(gateway)
    await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
    await failure(gateway.stub.Invoke(pb.InvokeRequest(), timeout=5))
    await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=2))
    stream = gateway.stub.InvokeStream(pb.InvokeRequest(dag_id="dag"), timeout=5)
    events = [event async for event in stream]
    left = gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=20)
    await eventually(lambda: len(parked.made) == 2)
    left.cancel()
    health: Any = health_pb2_grpc.HealthStub(gateway.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    await watch.read()
    watch.cancel()
    async with asyncio.timeout(5):
        while not (found := await scrape(gateway))(
            "grpc_server_handled_total", grpc_code="Canceled", **method("Invoke")
        ):
            pass

    unary, streamed = method("Invoke"), method("InvokeStream", "server_stream")
    # None has been called, and all are there.
    assert before("grpc_server_handled_total", **unary) == 0
    assert len([*before.having("grpc_server_handled_total", **unary)]) == 17
    assert found("grpc_server_started_total", **unary) == 4
    for code in ("OK", "InvalidArgument", "DeadlineExceeded", "Canceled"):
        assert found("grpc_server_handled_total", grpc_code=code, **unary) == 1, code
    assert found("grpc_server_msg_received_total", **unary) == 4
    assert found("grpc_server_msg_sent_total", **unary) == 1
    assert found("grpc_server_handling_seconds_count", **unary) == 4
    assert found("grpc_server_msg_sent_total", **streamed) == len(events)
    assert found("grpc_server_handled_total", grpc_code="OK", **streamed) == 1
    watched = {"grpc_service": "grpc.health.v1.Health", "grpc_method": "Watch"}
    assert found("grpc_server_msg_sent_total", **watched) == 1
    assert found("grpc_server_handled_total", grpc_code="Canceled", **watched) == 1


async def test_what_cannot_be_decoded_counts(gateway: Gateway) -> None:
    """It is an RPC as any other; a path that leads nowhere is none."""
    for path in ("/dag_inference.v1.DagInference/Invoke", "/no.such.Service/Method", "no-slash"):
        call: Any = gateway.channel.unary_unary(path)
        await failure(call(b"\xff\xff", timeout=5))

    found = await scrape(gateway)

    assert found("grpc_server_handled_total", grpc_code="InvalidArgument", **method("Invoke")) == 1
    assert found("grpc_server_handled_total", grpc_code="Unimplemented") == 0
    assert not {"no.such.Service", "Method"} & found.values_of("grpc_service")


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

    async with asyncio.timeout(5):
        while not (during := await scrape(gateway))(
            "dag_inference_calls_in_flight", dag_id="parked", state="waiting"
        ):
            pass
    call.cancel()
    async with asyncio.timeout(5):
        while not (after := await scrape(gateway))(
            "dag_inference_calls_total", outcome="CALLER_LEFT"
        ):
            pass

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
        assert during("dag_inference_airflow_token_refreshes_total", outcome=outcome) == 0
    assert during("dag_inference_airflow_account_refused") == 0
    assert during("dag_inference_watcher_looks_total", kind="calls", outcome="ok") > 0
    assert during("dag_inference_watcher_looks_total", outcome="failed") == 0
    assert during("dag_inference_watcher_interval_seconds", kind="calls") > 0
    assert during("dag_inference_watcher_lag_seconds_count", kind="calls") > 0
    for component in ("metadatabase", "scheduler", "triggerer", "dag_processor"):
        assert during("dag_inference_airflow_component_up", component=component) == 1
    assert during("dag_inference_watcher_runs") == 1
    assert during("dag_inference_build_info") == 1
    assert during("process_resident_memory_bytes") > 0
    assert after("dag_inference_calls_in_flight") == 0
    assert after("dag_inference_watcher_runs") == 0


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
        await failure(stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=2)),
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


async def test_what_alerts_are_about_begins_with_zero(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """Of all calls together, and of each DAG from its first one on: the first error is a rise."""
    rules = Path(__file__).parents[2] / "examples" / "prometheus" / "rules.yml"
    (unserved,) = set(re.findall(r'outcome=~"([A-Z_|]+)"', rules.read_text()))
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    before = await scrape(gateway)
    await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
    after = await scrape(gateway)

    def outcomes(found: Scraped, dag_id: str) -> dict[str, float]:
        series = found.having("dag_inference_calls_total", dag_id=dag_id)
        return {sample.labels["outcome"]: sample.value for sample in series}

    zero = dict.fromkeys(unserved.split("|"), 0.0)
    assert outcomes(before, "other") == outcomes(after, "other") == {"OK": 0, **zero}
    assert outcomes(before, "dag") == {}
    assert outcomes(after, "dag") == {"OK": 1, **zero}


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
    async with asyncio.timeout(5):
        while not (after := await scrape(gateway))(f"{saved}_count"):
            pass
    await eventually(lambda: parked.made)
    call.cancel()

    assert before(f"{saved}_count") == 0
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


async def test_a_caller_that_goes_away(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is counted at the DAG of its run, though no call of it was answered yet."""
    dag = airflow.add(Dag("parked"))
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=20)
    await eventually(lambda: dag.made)
    await airflow.polls(2)

    call.cancel()

    async with asyncio.timeout(5):
        while not (counted := await scrape(gateway))(
            "dag_inference_calls_total", outcome="CALLER_LEFT"
        ):
            pass
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
    assert before(name) == 0
    assert after(name, reason="calls") == after(name) == 2
    # Of whichever DAG: they are refused before they are read.
    assert after("dag_inference_calls_total", outcome="OVERLOADED", dag_id="other") == 2
    invoke = {"grpc_method": "Invoke", "grpc_type": "unary"}
    assert after("grpc_server_handled_total", grpc_code="ResourceExhausted", **invoke) == 2
    assert after("grpc_server_msg_received_total", **invoke) == 1


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
        async with asyncio.timeout(5):
            while not (found := await scrape(gateway)).values_of("component"):
                pass

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

    async with asyncio.timeout(10):
        while (found := await scrape(gateway))("dag_inference_airflow_up"):
            pass
        while (later := await scrape(gateway))("dag_inference_watcher_news_age_seconds") < 0.5:
            pass

    assert found("dag_inference_airflow_request_seconds_count", status="none") > 0
    assert later("dag_inference_airflow_up") == 0
    call.cancel()


@pytest.mark.parametrize("settings", [{"dags": ("dag", "nowhere", "served-*")}], ids=[""])
async def test_names_that_are_made_up_make_no_series(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """However many DAGs are asked for that do not exist; and no run id is ever a label."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
    await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id="nowhere"), timeout=5))
    await failure(gateway.stub.Wait(pb.WaitRequest(dag_id="dag", run_id=ours("1")), timeout=5))
    before = await scrape(gateway)
    # Of some of them Airflow is asked.
    names = [f"{'served' if number % 10 == 0 else 'made-up'}-{number}" for number in range(10_000)]

    for start in range(0, len(names), 500):
        calls = [
            gateway.stub.Invoke(pb.InvokeRequest(dag_id=name), timeout=20)
            for name in names[start : start + 500]
        ]
        await asyncio.gather(*(failure(call) for call in calls))
    after = await scrape(gateway)

    assert after.values_of("dag_id") == before.values_of("dag_id") == {"dag", "other"}
    assert after.values_of("operation") == before.values_of("operation")
    everything = {
        value for f in after.families.values() for s in f.samples for value in s.labels.values()
    }
    assert not any(value.startswith(("grpc-", "made-up", "served-")) for value in everything)


async def test_runs_that_are_made_up_make_no_series(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A run id proves nothing, neither while Airflow is asked about it nor when it has not told."""
    await gateway.ready()
    airflow.faults.add(faults.hanging())
    calls = [
        gateway.stub.Wait(pb.WaitRequest(dag_id=f"made-up-{number}", run_id=ours("1")), timeout=5)
        for number in range(20)
    ]
    async with asyncio.timeout(5):
        while (during := await scrape(gateway))("dag_inference_calls_in_flight") < 20:
            pass
    failures = await asyncio.gather(*(failure(call) for call in calls))
    after = await scrape(gateway)

    assert {failed.reason for failed in failures} == {"DEADLINE_EXCEEDED"}
    assert all("run_id" in failed.metadata for failed in failures)
    assert during("dag_inference_calls_in_flight", dag_id="other") == 20
    assert during.values_of("dag_id") == after.values_of("dag_id") == {"other"}


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


@pytest.mark.parametrize("settings", [{"shutdown_grace": 20}])
async def test_probes(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Ready from Airflow's first answer until it is told to go; alive all the time."""
    dag = airflow.add(Dag("dag"))
    await gateway.ready()
    ready = [(await get(gateway, path))[0] for path in ("/livez", "/readyz")]
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=20)
    run = await eventually(lambda: dag.made)

    gateway.end()
    async with asyncio.timeout(5):
        while (await get(gateway, "/readyz"))[0] == 200:
            pass
    leaving = [(await get(gateway, path))[0] for path in ("/livez", "/readyz")]
    run[0].finish("predict", 1)
    await call

    assert (ready, leaving) == ([200, 200], [200, 503])


async def test_not_ready_before_airflow_has_answered(airflow: FakeAirflow) -> None:
    """A replica that cannot do anything yet gets no calls."""
    await airflow.stop()
    async with running(settings_for(airflow)) as gateway:
        assert [(await get(gateway, path))[0] for path in ("/livez", "/readyz")] == [200, 503]


async def test_a_port_that_is_taken(airflow: FakeAirflow) -> None:
    """Is said plainly, and ends the gateway before it serves."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CannotListen, match=f"metrics on {address}"):
            async with running(settings_for(airflow, metrics_listen=address)):
                raise AssertionError("it serves")


async def test_off(airflow: FakeAirflow) -> None:
    """Without a port, calls are served as ever."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with running(settings_for(airflow, metrics_listen="off")) as gateway:
        assert gateway.serving.metrics_port is None
        await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
