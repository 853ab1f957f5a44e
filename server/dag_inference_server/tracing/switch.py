"""Tracing on or off. Off, nothing of OpenTelemetry is loaded, and nothing is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc

from dag_inference_server.invocation.observer import Observer


class CannotTrace(Exception):
    """The extra is not installed."""


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Traces:
    """What takes part in the tracing, if anything does."""

    observers: tuple[Observer, ...] = ()
    """To be told of calls."""
    interceptors: tuple[grpc.aio.ServerInterceptor, ...] = ()
    """Around every call that is let in."""
    headers: Callable[[], dict[str, str]] = dict
    """What a request to Airflow says of the call that it is made for."""
    trace_id: Callable[[], str | None] = lambda: None
    """The trace of the call that it is called for; `None` if nobody records it."""
    close: Callable[[], Awaitable[None]] = _nothing
    """Sends what is left."""


def traces_to(endpoint: str | None, services: Sequence[str], per_second: float) -> Traces:
    """Traces of the calls of some services.

    Args:
        endpoint: Where they go, by OTLP; `None` for nowhere.
        services: Their full names.
        per_second: How many calls are recorded that come without a trace of their own.

    Raises:
        CannotTrace: The extra is not installed.
    """
    if endpoint is None:
        return Traces()
    try:
        from dag_inference_server.tracing.rpcs import RpcSpans
        from dag_inference_server.tracing.sampling import chooser
        from dag_inference_server.tracing.tracing import Tracing, trace_headers, trace_id
    except ImportError as error:
        raise CannotTrace(
            f"{error.name} is not installed, and OTLP_ENDPOINT is set: install the extra "
            "dag-inference-server[otel]"
        ) from error
    tracing = Tracing(endpoint)
    spans = RpcSpans(tracing.tracer, services, chooser(per_second))
    return Traces((tracing,), (spans,), trace_headers, trace_id, tracing.close)
