"""A span for each call, with its stages, under the caller's own trace."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from datetime import timedelta
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace import Span as RecordedSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dag_inference.errors import DagInferenceError, Subject
from dag_inference_server.invocation.call import Outcome, Timing

_EXPORT_TIMEOUT = 5
"""Seconds for one batch of spans."""

_LAST_BATCH, _GIVING_UP = 0.5, 0.2
"""Seconds for what is left when the gateway ends, and for giving it up. A collector that is away
must not hold the end up for longer than the grace leaves (`drain.py`)."""

IS_TRACED: ContextVar[bool] = ContextVar("is_traced", default=False)
"""Whether there is a span of ours to look for: most calls have none, and to look takes long."""

_IDS = RandomIdGenerator()

_PROPAGATOR = TraceContextTextMapPropagator()
_FIELDS = frozenset(_PROPAGATOR.fields)


class Tracing:
    """Is told how calls end, and tells a collector.

    `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and
    `OTEL_EXPORTER_OTLP_HEADERS` count as everywhere.
    """

    def __init__(self, endpoint: str) -> None:
        """Send spans to a collector by OTLP over gRPC, from a thread of the SDK's own."""
        ours = {
            "service.name": "dag-inference",
            "service.version": version("dag-inference-server"),
            "service.instance.id": str(uuid.uuid4()),
        }
        self._provider = TracerProvider(
            # What the environment says counts.
            resource=Resource.create(ours).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        self._exporter = OTLPSpanExporter(
            endpoint, insecure=endpoint.startswith("http://"), timeout=_EXPORT_TIMEOUT
        )
        self._batches = BatchSpanProcessor(self._exporter)
        self._provider.add_span_processor(self._batches)
        self.tracer = self._provider.get_tracer("dag_inference_server")

    def answered(self, outcome: Outcome, translation: timedelta) -> None:
        """A call has its answer: its stages become spans."""
        if (span := _recorded()) is not None:
            span.set_attribute("dag_inference.run_state", outcome.run.state)
            self._tell(span, outcome.timing, translation)

    def failed(
        self,
        dag_id: str,
        error: DagInferenceError,
        took: timedelta | None,
        timing: Timing | None = None,
    ) -> None:
        """A call has an error, which its RPC tells: its stages become spans, too."""
        if timing is not None and (span := _recorded()) is not None:
            self._tell(span, timing, None)

    def unanswered(self, subject: Subject, why: str) -> None:
        """A call ends without an answer, which its RPC tells."""

    def _tell(self, span: RecordedSpan, timing: Timing, translation: timedelta | None) -> None:
        """Tell of a call's stages, of which the translation, if any, is the last."""
        stages = _Stages(span)
        read = stages.add_until("translation", time.time(), translation)
        stages.add_until("value_read", read, timing.value_read)
        arrived = read - timing.total.total_seconds()
        stages.add("admission", arrived, timing.admission)
        stages.add("trigger", arrived + timing.admission.total_seconds(), timing.trigger)
        if timing.ended_at is not None:
            # By Airflow's own stamps, and so by its clock.
            ended = timing.ended_at.timestamp()
            stages.add("detection", ended, timing.detection)
            started = stages.add_until("running", ended, timing.running)
            stages.add_until("queued", started, timing.queued)
        for stage in stages.spans:
            self._batches.on_end(stage)

    async def close(self) -> None:
        """Send what is left, if somebody takes it soon; nothing of it goes on behind the end."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            # The gateway may have ended without it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, daemon=True).start()
        if not await _comes(done, _LAST_BATCH):
            # What is under way, or waits to be tried again, fails at once.
            self._exporter.shutdown()
            await _comes(done, _GIVING_UP)


async def _comes(event: asyncio.Event, within: float) -> bool:
    """Wait for an event, for so many seconds at most; whether it came."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
    return event.is_set()


class _Stages:
    """The spans below that of a call.

    All is known when they are made, so they are made as what the SDK exports in the end: at a
    fraction of what it costs to begin spans, fill them and end them.
    """

    def __init__(self, call: RecordedSpan) -> None:
        self.spans: list[ReadableSpan] = []
        self._call = call
        self._parent = call.get_span_context()

    def add(self, name: str, start: float, took: timedelta | None) -> None:
        if took is None:
            return
        parent = self._parent
        span_id = _IDS.generate_span_id()
        context = SpanContext(
            parent.trace_id, span_id, False, parent.trace_flags, parent.trace_state
        )
        self.spans.append(
            ReadableSpan(
                name,
                context,
                parent,
                self._call.resource,
                instrumentation_scope=self._call.instrumentation_scope,
                start_time=_nanoseconds(start),
                end_time=_nanoseconds(start + took.total_seconds()),
            )
        )

    def add_until(self, name: str, end: float, took: timedelta | None) -> float:
        """Add one by its end; gives when it began."""
        start = end if took is None else end - took.total_seconds()
        self.add(name, start, took)
        return start


def caller_of(metadata: Iterable[tuple[str, str | bytes]]) -> Context | None:
    """The caller's trace, of what came with its call; `None` without one that can be read."""
    told = {key: value for key, value in metadata if key in _FIELDS}
    if not told:
        return None
    caller = _PROPAGATOR.extract(told)
    return caller if trace.get_current_span(caller).get_span_context().is_valid else None


def _recorded() -> RecordedSpan | None:
    """The span of the call that this is for; `None` if nobody records it."""
    if not IS_TRACED.get():
        return None
    span = trace.get_current_span()
    return span if isinstance(span, RecordedSpan) else None


def trace_headers() -> dict[str, str]:
    """What a request to Airflow says of the trace that it belongs to."""
    headers: dict[str, str] = {}
    if IS_TRACED.get():
        _PROPAGATOR.inject(headers)
    return headers


def trace_id() -> str | None:
    """The trace of the call that this is for; `None` if nobody records it."""
    if not IS_TRACED.get():
        return None
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.trace_flags.sampled else None


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
