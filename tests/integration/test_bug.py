"""A bug of the gateway's own: the caller gets an id that finds where it is in the log."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
import pytest
import structlog
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.logs import without_its_text
from fakes.airflow import Dag, FakeAirflow, steps
from integration.gateway import Gateway
from integration.inference import infer, stub
from integration.scraping import scrape
from integration.statuses import failure

SECRET = "what has a caller's value in it"


@pytest.mark.parametrize("method", ["Invoke", "InvokeStream"])
async def test_a_bug(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """It is INTERNAL, counts as what it is, and the run, which goes on, can be come back to."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))

    def break_down(*_: object) -> NoReturn:
        raise RuntimeError(SECRET)

    written = structlog.testing.CapturingLogger()
    log = structlog.wrap_logger(
        written,
        processors=[without_its_text],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    monkeypatch.setattr("dag_inference_server.edge.rpc.log", log)
    with monkeypatch.context() as broken:
        broken.setattr("dag_inference_server.invocation.wait.decide", break_down)
        request, call = pb.InvokeRequest(dag_id="dag"), getattr(gateway.stub, method)
        failed = await failure(_end(call(request, timeout=5)))
    counted = await scrape(gateway)
    run_id = dag.made[0].run_id
    answer = await gateway.stub.Wait(pb.WaitRequest(dag_id="dag", run_id=run_id), timeout=5)

    assert (failed.code, failed.reason) == (StatusCode.INTERNAL, "GATEWAY_BUG")
    assert failed.metadata == {"dag_id": "dag", "run_id": run_id}
    incident = failed.message.removeprefix("incident ")
    assert len(incident) == 12
    (line,) = [call.kwargs for call in written.calls if call.kwargs["event"] == "gateway_bug"]
    assert line["incident"] == incident
    assert SECRET not in str(line)
    assert SECRET not in failed.message
    *_, where, what = line["exception"].splitlines()
    assert "raise RuntimeError(SECRET)" in where
    assert what == "builtins.RuntimeError"
    results = "dag_inference_calls_total"
    assert counted(results, outcome="GATEWAY_BUG") == counted(results) == 1
    assert counted("grpc_server_handled_total", grpc_method=method, grpc_code="Internal") == 1
    assert answer.run.run_id == run_id


async def test_a_bug_in_a_model(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts by its code, and in a stream, which ends well, by the outcome of its call alone."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))

    def break_down(*_: object) -> NoReturn:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("dag_inference_server.invocation.wait.decide", break_down)
    failed = await failure(stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=5))
    stream = stub(gateway).ModelStreamInfer(iter([infer(dag_id="dag")]), timeout=5)
    (answer,) = [answer async for answer in stream]
    counted = await scrape(gateway)

    assert failed.reason == "GATEWAY_BUG"
    assert answer.infer_response.parameters["reason"].string_param == "GATEWAY_BUG"
    assert SECRET not in failed.message + answer.error_message
    results, handled = "dag_inference_calls_total", "grpc_server_handled_total"
    assert counted(results, outcome="GATEWAY_BUG", dag_id="dag") == counted(results) == 2
    assert counted(handled, grpc_method="ModelInfer", grpc_code="Internal") == 1
    assert counted.shown(handled, grpc_method="ModelStreamInfer", grpc_code="Internal") == 0


async def _end(call: Any) -> None:
    if isinstance(call, grpc.aio.UnaryUnaryCall):
        await call
    else:
        async for _ in call:
            pass
