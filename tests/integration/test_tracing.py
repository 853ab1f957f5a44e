"""Traces: a span for each call under the caller's own, with its stages, and the way to the run."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import structlog
from grpc import StatusCode

from collector import QUICKLY, TRACE, Collector, attributes, collecting, traced
from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, steps
from integration.gateway import Gateway, running, settings_for
from integration.inference import infer, stub
from integration.run_ids import ours
from integration.scraping import OPENMETRICS, get
from integration.statuses import failure
from integration.waiting import eventually, first_run

STAGES = {
    *("admission", "trigger", "queued", "running", "detection", "value_read", "translation"),
}


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Collector, str]]:
    """A collector, and its address."""
    for name, value in QUICKLY.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    async with collecting() as collector:
        yield collector


async def test_a_call(airflow: FakeAirflow, collector: tuple[Collector, str]) -> None:
    """Its span hangs below the caller's, its stages below it; Airflow and the run are told."""
    spans, endpoint = collector
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
        request = pb.InvokeRequest(dag_id="dag")
        answer = await gateway.stub.Invoke(request, timeout=5, metadata=traced())
        _, _, metrics = await get(gateway, "/metrics", Accept=OPENMETRICS)
        span, stages = await spans.call()

    assert (span.name, span.kind) == ("dag_inference.v1.DagInference/Invoke", 2)
    assert attributes(span) == {
        "rpc.system": "grpc",
        "rpc.service": "dag_inference.v1.DagInference",
        "rpc.method": "Invoke",
        "rpc.grpc.status_code": 0,
        "dag_inference.dag_id": "dag",
        "dag_inference.run_id": answer.run.run_id,
        "dag_inference.run_state": "running",
    }
    assert stages.keys() == STAGES
    for name, stage in stages.items():
        if name in {"admission", "trigger", "value_read", "translation"}:
            # By the gateway's clock, to which a span's own stamps are taken.
            assert span.start_time_unix_nano - 5e6 <= stage.start_time_unix_nano, name
            assert stage.end_time_unix_nano <= span.end_time_unix_nano + 5e6, name
        assert stage.start_time_unix_nano <= stage.end_time_unix_nano, name
    told = {
        asked.kind: asked.request.headers.get("traceparent", "")
        for asked in airflow.asked
        if asked.kind in {Kind.TRIGGER, Kind.VALUE, Kind.INSTANCE}
    }
    expected = f"00-{TRACE}-{span.span_id.hex()}-01"
    assert told == dict.fromkeys((Kind.TRIGGER, Kind.VALUE, Kind.INSTANCE), expected)
    assert dag.made[0].note == f"dag-inference: trace {TRACE}"
    for family in ("time_to_result", "stage"):
        shown = [
            line for line in metrics.splitlines() if line.startswith(f"dag_inference_{family}_")
        ]
        assert any(f'trace_id="{TRACE}"' in line for line in shown), family
    (resource, *_) = map(attributes, spans.resources)
    assert resource["service.name"] == "dag-inference"
    assert resource["deployment.environment.name"] == "test"
    assert resource["telemetry.sdk.language"] == "python"
    assert resource["service.instance.id"]


async def test_a_call_without_a_trace(
    airflow: FakeAirflow, collector: tuple[Collector, str]
) -> None:
    """Begins one of its own, whose span says as much."""
    spans, endpoint = collector
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
        answer = await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
        (span,) = await eventually(lambda: [s for s in spans.spans if s.name.endswith("/Invoke")])

    assert span.parent_span_id == b""
    assert attributes(span) == {
        "rpc.system": "grpc",
        "rpc.service": "dag_inference.v1.DagInference",
        "rpc.method": "Invoke",
        "rpc.grpc.status_code": 0,
        "dag_inference.dag_id": "dag",
        "dag_inference.run_id": answer.run.run_id,
        "dag_inference.run_state": "running",
    }


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
async def test_a_model(airflow: FakeAirflow, collector: tuple[Collector, str], method: str) -> None:
    """Calls of the Open Inference Protocol have the same spans and stages, streams among them."""
    spans, endpoint = collector
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    request = infer(dag_id="dag")
    async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
        if method == "ModelInfer":
            await stub(gateway).ModelInfer(request, timeout=10, metadata=traced())
        else:
            stream = stub(gateway).ModelStreamInfer(iter([request]), timeout=10, metadata=traced())
            assert [answer.error_message async for answer in stream] == [""]
        span, stages = await spans.call()

    assert span.name == f"inference.GRPCInferenceService/{method}"
    assert attributes(span)["rpc.grpc.status_code"] == 0
    assert stages.keys() == STAGES


async def test_calls_that_fail(airflow: FakeAirflow, collector: tuple[Collector, str]) -> None:
    """Say so, by status and reason; a DAG's own failure is no error of the gateway's."""
    spans, endpoint = collector
    airflow.add(Dag("fails", script=[steps.fail("predict")]))
    airflow.add(Dag("late"))
    parked = airflow.add(Dag("parked"))
    calls = {name: traced(trace_id=f"{n:032x}") for n, name in enumerate(("a", "b", "c", "d"), 1)}
    async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
        stub = gateway.stub
        request = pb.InvokeRequest(dag_id="fails")
        failed = await failure(stub.Invoke(request, timeout=5, metadata=calls["a"]))
        stream = stub.InvokeStream(request, timeout=5, metadata=calls["b"])
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in stream:
                pass
        late = pb.InvokeRequest(dag_id="late")
        await failure(stub.Invoke(late, timeout=0.3, metadata=calls["c"]))
        left = stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=20, metadata=calls["d"])
        await first_run(parked)
        left.cancel()
        found = {name: (await spans.call(f"{n:032x}"))[0] for n, name in enumerate(calls, 1)}

    assert attributes(found["a"])["dag_inference.reason"] == "TASK_FAILED"
    assert attributes(found["a"])["dag_inference.run_id"] == failed.info.metadata["run_id"]
    assert attributes(found["b"])["dag_inference.task_id"] == "predict"
    codes = {name: attributes(span)["rpc.grpc.status_code"] for name, span in found.items()}
    assert codes == {
        "a": StatusCode.ABORTED.value[0],
        "b": StatusCode.ABORTED.value[0],
        "c": StatusCode.DEADLINE_EXCEEDED.value[0],
        "d": StatusCode.CANCELLED.value[0],
    }
    expected = {"a": 0, "b": 0, "c": 2, "d": 0}
    assert {name: span.status.code for name, span in found.items()} == expected


@pytest.mark.parametrize(
    ("dag", "expected"),
    [
        (Dag("fails", script=[steps.fail("predict")]), {"queued", "running"}),
        (Dag("runs", script=[steps.begin("predict")]), {"queued", "running"}),
        (Dag("parked"), {"queued"}),
    ],
    ids=["a task that fails", "a task that runs", "a queued run"],
)
async def test_the_stages_of_a_call_that_fails(
    airflow: FakeAirflow,
    collector: tuple[Collector, str],
    monkeypatch: pytest.MonkeyPatch,
    dag: Dag,
    expected: set[str],
) -> None:
    """Are those that its line in the log has: what is over, and what is under way until now."""
    spans, endpoint = collector
    airflow.add(dag)
    request = pb.InvokeRequest(dag_id=dag.dag_id)
    written = structlog.testing.CapturingLogger()
    monkeypatch.setattr("dag_inference_server.edge.rpc.log", written)
    async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
        await gateway.ready()
        await failure(gateway.stub.Invoke(request, timeout=2, metadata=traced()))
        span, stages = await spans.call()

    assert stages.keys() == {"admission", "trigger"} | expected
    (line,) = [told.kwargs for told in written.calls]
    assert line["stages"].keys() - {"unattributed"} == stages.keys()
    for name, stage in stages.items():
        # By the gateway's clock, which here is Airflow's, too.
        assert span.start_time_unix_nano - 5e6 <= stage.start_time_unix_nano, name
        assert stage.end_time_unix_nano <= span.end_time_unix_nano + 5e6, name
        took = (stage.end_time_unix_nano - stage.start_time_unix_nano) / 1e9
        assert took == pytest.approx(line["stages"][name], abs=0.001), name


async def test_the_stages_of_a_call_that_is_refused(
    airflow: FakeAirflow, collector: tuple[Collector, str]
) -> None:
    """It was admitted at most."""
    spans, endpoint = collector
    airflow.add(Dag("paused", is_paused=True))
    async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
        request = pb.InvokeRequest(dag_id="paused")
        await failure(gateway.stub.Invoke(request, timeout=5, metadata=traced()))
        _, stages = await spans.call()

    assert stages.keys() == {"admission"}


async def test_what_is_no_call(airflow: FakeAirflow, collector: tuple[Collector, str]) -> None:
    """Requests that are malformed or refused, and other methods, say what they were about, too."""
    spans, endpoint = collector
    dag = airflow.add(Dag("dag"))
    run = dag.trigger(ours("1"), {})
    made_up = pb.InvokeRequest(dag_id="dag", request_id="mine", conf_json="[]")
    async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
        await gateway.ready()
        about: Any = [{"timeout": 5, "metadata": traced(trace_id=f"{n:032x}")} for n in range(1, 5)]
        await failure(gateway.stub.Invoke(made_up, **about[0]))
        await gateway.stub.Cancel(pb.CancelRequest(dag_id="dag", run_id=run.run_id), **about[1])
        await failure(gateway.stub.DescribeDag(pb.DescribeDagRequest(dag_id="none"), **about[2]))
        await failure(gateway.stub.ListDags(pb.ListDagsRequest(page_size=-1), **about[3]))
        found = [attributes((await spans.call(f"{n:032x}"))[0]) for n in range(1, 5)]

    assert [
        {key.removeprefix("dag_inference."): told for key, told in span.items() if "rpc" not in key}
        for span in found
    ] == [
        {"reason": "REQUEST_INVALID", "dag_id": "dag", "request_id": "mine"},
        {"dag_id": "dag", "run_id": run.run_id},
        {"reason": "DAG_NOT_FOUND", "dag_id": "none"},
        {"reason": "REQUEST_INVALID"},
    ]


async def test_a_call_that_is_refused_by_a_full_gateway(
    airflow: FakeAirflow, collector: tuple[Collector, str]
) -> None:
    """Has no span, which would be most of what the refusal costs; one of a full DAG has."""
    spans, endpoint = collector
    airflow.add(Dag("dag"))
    request, other = pb.InvokeRequest(dag_id="dag"), pb.InvokeRequest(dag_id="other")
    limits = {"max_calls": 2, "max_calls_per_dag": 1}
    async with running(settings_for(airflow, otlp_endpoint=endpoint, **limits)) as gateway:
        calls = [gateway.stub.Invoke(request, timeout=20)]
        await eventually(lambda: len(airflow.made) == 1)
        of_dag = traced(trace_id=f"{1:032x}")
        await failure(gateway.stub.Invoke(request, timeout=5, metadata=of_dag))
        airflow.add(Dag("other"))
        calls.append(gateway.stub.Invoke(other, timeout=20))
        await eventually(lambda: len(airflow.made) == 2)
        of_all = traced(trace_id=f"{2:032x}")
        await failure(gateway.stub.Invoke(request, timeout=5, metadata=of_all))
        for call in calls:
            call.cancel()
        # Spans are sent in the order in which they end.
        asked = traced(trace_id=f"{3:032x}")
        await gateway.stub.ListDags(pb.ListDagsRequest(), timeout=5, metadata=asked)
        await spans.call(f"{3:032x}")

    traces = {span.trace_id.hex() for span in spans.spans}
    assert f"{1:032x}" in traces
    assert f"{2:032x}" not in traces


@pytest.mark.parametrize("way", ["unary", "stream", "model stream"])
async def test_a_call_whose_caller_goes_away(
    airflow: FakeAirflow,
    collector: tuple[Collector, str],
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    """Its span says of what it was: nothing of the call goes on when the span has ended."""
    spans, endpoint = collector
    dag = airflow.add(Dag("dag"))
    async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
        request = pb.InvokeRequest(dag_id="dag")
        about: Any = {"timeout": 20, "metadata": traced()}
        call: Any
        reading: Awaitable[object]
        if way == "unary":
            call = reading = gateway.stub.Invoke(request, **about)
        elif way == "stream":
            call = gateway.stub.InvokeStream(request, **about)
            reading = _last(call)
        else:
            call = stub(gateway).ModelStreamInfer(iter([infer(dag_id="dag")]), **about)
            reading = _last(call)
        reading = asyncio.ensure_future(reading)
        await first_run(dag)
        # By then the gateway knows of it, too.
        await airflow.polls(2)
        call.cancel()
        await asyncio.wait((reading,))
        span, _ = await spans.call()

    assert attributes(span)["dag_inference.dag_id"] == "dag"
    assert attributes(span)["dag_inference.run_id"] == dag.made[0].run_id
    assert "dag_inference.reason" not in attributes(span)
    assert attributes(span)["rpc.grpc.status_code"] == StatusCode.CANCELLED.value[0]
    assert [r.getMessage() for r in caplog.records if r.name.startswith("opentelemetry")] == []


async def _last(stream: AsyncIterator[object]) -> object:
    """The last message of a stream."""
    return [message async for message in stream][-1]


async def test_a_call_that_nobody_records(
    airflow: FakeAirflow, collector: tuple[Collector, str]
) -> None:
    """The caller has decided that its trace is not sampled: no span, and no word in the run."""
    spans, endpoint = collector
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
        request = pb.InvokeRequest(dag_id="dag")
        await gateway.stub.Invoke(request, timeout=5, metadata=traced("00"))
        await gateway.stub.Invoke(request, timeout=5, metadata=traced("01", f"{7:032x}"))
        await spans.call(f"{7:032x}")

    assert TRACE not in {span.trace_id.hex() for span in spans.spans}
    assert dag.made[0].note is None


async def test_more_calls_than_are_recorded(
    airflow: FakeAirflow, collector: tuple[Collector, str]
) -> None:
    """Nobody hears of the others, Airflow neither; a trace that cannot be read is none."""
    spans, endpoint = collector
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    settings = settings_for(airflow, otlp_endpoint=endpoint, traces_per_second=0.001)
    async with running(settings) as gateway:
        request = pb.InvokeRequest(dag_id="dag")
        await gateway.stub.Invoke(request, timeout=5)
        airflow.asked.clear()
        await gateway.stub.Invoke(request, timeout=5)
        await gateway.stub.Invoke(request, timeout=5, metadata=[("traceparent", "00-none-01")])
        told = {asked.request.headers.get("traceparent") for asked in airflow.asked}
        await gateway.stub.Invoke(request, timeout=5, metadata=traced())
        await spans.call()

    assert len([span for span in spans.spans if span.name.endswith("/Invoke")]) == 2
    assert told == {None}
    assert [run.note is None for run in dag.made] == [False, True, True, False]


async def test_the_environment_may_decide(
    airflow: FakeAirflow, collector: tuple[Collector, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of our rules: here no call is recorded that has no trace, and one that has is."""
    spans, endpoint = collector
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
        request = pb.InvokeRequest(dag_id="dag")
        await gateway.stub.Invoke(request, timeout=5)
        await gateway.stub.Invoke(request, timeout=5, metadata=traced())
        await spans.call()

    assert {span.trace_id.hex() for span in spans.spans} == {TRACE}
    assert [run.note is None for run in dag.made] == [True, False]


@pytest.mark.parametrize("way", ["cancel", "run_timeout"])
async def test_a_run_that_is_ended(
    airflow: FakeAirflow, collector: tuple[Collector, str], way: str
) -> None:
    """Keeps the trace in its note, behind what the gateway says there of its end."""
    _, endpoint = collector
    dag = airflow.add(Dag("dag"))
    request = pb.InvokeRequest(dag_id="dag")
    request.run_timeout.FromMilliseconds(500 if way == "run_timeout" else 60_000)
    async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
        call = gateway.stub.Invoke(request, timeout=20, metadata=traced())
        run = await first_run(dag)
        assert str(run.note).startswith("dag-inference: run_timeout ")
        assert str(run.note).endswith(f"; trace {TRACE}")
        if way == "cancel":
            await gateway.stub.Cancel(pb.CancelRequest(dag_id="dag", run_id=run.run_id))
        failed = await failure(call)

    assert failed.reason == ("RUN_CANCELLED" if way == "cancel" else "RUN_TIMED_OUT")
    assert str(run.note).endswith(f"; trace {TRACE}")


async def test_off(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Nobody is told of the caller's trace."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5, metadata=traced())

    assert not any("traceparent" in asked.request.headers for asked in airflow.asked)
    assert dag.made[0].note is None


@pytest.mark.parametrize("how", ["refuses", "is silent", "never answers"])
async def test_the_collector_is_away(
    airflow: FakeAirflow, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls are served as ever, and when the gateway has ended, nobody tries any more."""
    for name, value in QUICKLY.items():
        monkeypatch.setenv(name, value)
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with _away(how) as endpoint, asyncio.timeout(60):
        async with running(settings_for(airflow, otlp_endpoint=endpoint)) as gateway:
            for _ in range(5):
                request = pb.InvokeRequest(dag_id="dag")
                await gateway.stub.Invoke(request, timeout=20, metadata=traced())
            assert _sends()

        assert not _sends()
    assert len(asyncio.all_tasks()) == 1


def _sends() -> bool:
    """Whether the SDK's thread that sends spans lives."""
    return any(thread.name.startswith("OtelBatch") for thread in threading.enumerate())


@asynccontextmanager
async def _away(how: str) -> AsyncIterator[str]:
    """An address where nobody takes spans."""
    if how == "refuses":
        with socket.socket() as bound:
            # Not listening, and nobody else can.
            bound.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    elif how == "is silent":
        with socket.create_server(("127.0.0.1", 0)) as silent:
            yield f"http://127.0.0.1:{silent.getsockname()[1]}"
    else:
        async with collecting(Hanging()) as (_, endpoint):
            yield endpoint


class Hanging(Collector):
    """Takes spans, and never says so."""

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Hang."""
        await asyncio.Event().wait()
