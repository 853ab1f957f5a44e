"""A span for each call, with its stages, under the caller's own trace."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dag_inference.errors import DagInferenceError
from dag_inference_server.invocation.call import Outcome

_EXPORT_TIMEOUT = 5
"""Seconds for one batch of spans."""

_LAST_BATCH = 2.0
"""Seconds for what is left when the gateway ends. A collector that is away must not hold it up."""

_PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Is told how calls end, and tells a collector.

    `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and
    `OTEL_EXPORTER_OTLP_HEADERS` count as everywhere.
    """

    def __init__(self, endpoint: str) -> None:
        """Send spans to `endpoint`, a URL of OTLP over gRPC, from a thread of the SDK's own."""
        ours = {"service.name": "dag-inference", "service.version": version("dag-inference-server")}
        self._provider = TracerProvider(
            # What the environment says counts.
            resource=Resource(ours).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(
            endpoint, insecure=endpoint.startswith("http://"), timeout=_EXPORT_TIMEOUT
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self._provider.get_tracer("dag_inference_server")

    def answered(self, outcome: Outcome, translation: timedelta) -> None:
        """A call has its answer: its stages become spans."""
        span, run, timing = trace.get_current_span(), outcome.run, outcome.timing
        if not span.is_recording():
            return
        span.set_attributes(
            {
                "dag_inference.dag_id": run.dag_id,
                "dag_inference.run_id": run.run_id,
                "dag_inference.run_state": run.state,
            }
        )
        now = time.time()
        read = now - translation.total_seconds()
        arrived = read - timing.total.total_seconds()
        self._stage("admission", arrived, timing.admission)
        self._stage("trigger", arrived + timing.admission.total_seconds(), timing.trigger)
        self._stage("value_read", read - timing.value_read.total_seconds(), timing.value_read)
        self._stage("translation", read, translation)
        if outcome.ended_at is not None:
            self._airflows_stages(outcome, outcome.ended_at)

    def _airflows_stages(self, outcome: Outcome, ended_at: datetime) -> None:
        """By Airflow's own stamps, and so by Airflow's clock."""
        timing, ended = outcome.timing, ended_at.timestamp()
        self._stage("detection", ended, timing.detection)
        if timing.running is not None:
            ran_from = ended - timing.running.total_seconds()
            self._stage("running", ran_from, timing.running)
            if timing.queued is not None:
                queued_from = ran_from - timing.queued.total_seconds()
                self._stage("queued", queued_from, timing.queued)

    def _stage(self, name: str, start: float, took: timedelta | None) -> None:
        if took is not None:
            span = self.tracer.start_span(name, start_time=_nanoseconds(start))
            span.end(_nanoseconds(start + took.total_seconds()))

    def failed(self, dag_id: str, error: DagInferenceError, seconds: float) -> None:
        """A call has an error."""
        span = trace.get_current_span()
        span.set_attribute("dag_inference.dag_id", dag_id)
        span.set_attribute("dag_inference.reason", error.reason)
        for key, value in error.subject.to_metadata().items():
            span.set_attribute(f"dag_inference.{key}", value)

    def left(self, dag_id: str, seconds: float) -> None:
        """A caller went away."""
        trace.get_current_span().set_attribute("dag_inference.dag_id", dag_id)

    async def close(self) -> None:
        """Send what is left, if somebody takes it."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            # The gateway may have ended without it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_BATCH):
                await done.wait()


def caller_of(metadata: dict[str, str]) -> Context:
    """The caller's trace, of what came with its call."""
    return _PROPAGATOR.extract(metadata)


def trace_headers() -> dict[str, str]:
    """What a request to Airflow says of the trace that it belongs to."""
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers)
    return headers


def trace_id() -> str | None:
    """The trace of the call that this is for; `None` if nobody records it."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.trace_flags.sampled else None


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
