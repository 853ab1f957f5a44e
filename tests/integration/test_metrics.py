"""What Prometheus gets, and what probes are told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import aiohttp
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.gateway import CannotListen
from fakes.airflow import Dag, FakeAirflow, steps
from integration.gateway import Gateway, running, settings_for
from integration.statuses import failure
from integration.waiting import eventually

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def get(gateway: Gateway, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, content type and text of a page."""
    url = f"http://127.0.0.1:{gateway.serving.metrics_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


class Scraped:
    """The samples of a scrape."""

    def __init__(self, families: Iterable[Metric]) -> None:
        """Keep them by name."""
        self.families = {family.name: family for family in families}
        self._samples = [sample for family in self.families.values() for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that have these labels."""
        return float(sum(sample.value for sample in self.having(name, **labels)))

    def having(self, name: str, **labels: str) -> Iterator[Any]:
        """The samples of that name that have these labels."""
        for sample in self._samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample

    def values_of(self, label: str) -> set[str]:
        """Every value that a label has."""
        return {s.labels[label] for s in self._samples if label in s.labels}


async def scrape(gateway: Gateway) -> Scraped:
    """What Prometheus reads."""
    return Scraped(classic((await get(gateway, "/metrics"))[2]))


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
    await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=0.3))
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

    during = await scrape(gateway)
    call.cancel()
    async with asyncio.timeout(5):
        while not (after := await scrape(gateway))(
            "dag_inference_time_to_result_seconds_count", outcome="CALLER_LEFT"
        ):
            pass

    stages = {s.labels["stage"] for s in during.having("dag_inference_stage_seconds_count")}
    assert stages == {"trigger", "queued", "running", "detection", "value_read", "unattributed"}
    results = "dag_inference_time_to_result_seconds_count"
    assert during(results, dag_id="dag", outcome="OK") == 2
    assert during(results, dag_id="fails", outcome="TASK_FAILED") == 1
    assert during("dag_inference_stage_seconds_count", dag_id="dag", stage="trigger") == 2
    requests = "dag_inference_airflow_request_seconds_count"
    assert during(requests, operation="POST /dags/{}/dagRuns", status="200") == 4
    assert during(requests, operation="POST /auth/token", status="201") == 1
    assert during("dag_inference_airflow_up") == 1
    assert during("dag_inference_calls_in_flight") == 1
    assert during("dag_inference_watcher_runs") == 1
    assert during("dag_inference_calls_awaiting_trigger") == 0
    assert during("dag_inference_build_info") == 1
    assert during("process_resident_memory_bytes") > 0
    assert after("dag_inference_calls_in_flight") == 0
    assert after("dag_inference_watcher_runs") == 0


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


async def test_names_that_are_made_up_make_no_series(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """However many DAGs are asked for that do not exist; and no run id is ever a label."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
    await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id="nowhere"), timeout=5))
    await failure(gateway.stub.Wait(pb.WaitRequest(dag_id="dag", run_id="grpc-1"), timeout=5))
    before = await scrape(gateway)
    names = [f"made-up-{number}" for number in range(2000)]

    for start in range(0, len(names), 200):
        calls = [
            gateway.stub.Invoke(pb.InvokeRequest(dag_id=name), timeout=20)
            for name in names[start : start + 200]
        ]
        await asyncio.gather(*(failure(call) for call in calls))
    after = await scrape(gateway)

    assert after.values_of("dag_id") == before.values_of("dag_id") == {"dag", "other"}
    assert after.values_of("operation") == before.values_of("operation")
    everything = {
        value for f in after.families.values() for s in f.samples for value in s.labels.values()
    }
    assert not any(value.startswith(("grpc-", "made-up")) for value in everything)


async def test_openmetrics_with_the_run_as_exemplar(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Who asks for it finds the run of a slow call by its bucket."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)

    _, kind, text = await get(gateway, "/metrics", Accept=OPENMETRICS)
    _, plain, _ = await get(gateway, "/metrics")
    parse: Any = openmetrics
    found = Scraped(parse(text))

    assert kind.startswith("application/openmetrics-text")
    assert plain.startswith("text/plain")
    buckets = found.having("dag_inference_time_to_result_seconds_bucket", outcome="OK")
    exemplars = [sample.exemplar.labels for sample in buckets if sample.exemplar]
    assert exemplars == [{"run_id": dag.made[0].run_id}]


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
