"""Traces of calls whose runs a real Airflow makes."""

from __future__ import annotations

import grpc

from collector import QUICKLY, TRACE, attributes, collecting, traced
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from e2e.harness import Standalone
from gateway_process import gateway_process


async def test_from_a_trace_to_its_run_and_back(standalone: Standalone) -> None:
    """The caller's trace has the call and its stages, with the run's id; the run has the trace.

    Stages by Airflow's clock lie within the call, as its clock is the same machine's here.
    """
    async with collecting() as (spans, endpoint):
        settings = standalone.account() | QUICKLY | {"DAG_INFERENCE_OTLP_ENDPOINT": endpoint}
        async with (
            gateway_process(settings) as gateway,
            grpc.aio.insecure_channel(gateway.target) as channel,
        ):
            stub = rpc.DagInferenceStub(channel)
            request = pb.InvokeRequest(dag_id="leaf_value")
            answer = await stub.Invoke(request, timeout=90, metadata=traced(), wait_for_ready=True)
            span, stages = await spans.call()

    run = standalone.ui.run("leaf_value", answer.run.run_id)
    assert attributes(span)["dag_inference.run_id"] == answer.run.run_id
    assert run["note"] == f"dag-inference: trace {TRACE}"
    assert {"trigger", "queued", "running", "detection", "value_read"} <= stages.keys()
    for name, stage in stages.items():
        assert span.start_time_unix_nano - 5e6 <= stage.start_time_unix_nano, name
        assert stage.start_time_unix_nano <= stage.end_time_unix_nano, name
        assert stage.end_time_unix_nano <= span.end_time_unix_nano + 5e6, name
