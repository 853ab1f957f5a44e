"""Which calls are recorded: those that their caller records, and some of the others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.environment_variables import OTEL_TRACES_SAMPLER
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes


def sampler(per_second: float) -> Sampler | None:
    """Who decides; `None` if the environment says who does.

    Args:
        per_second: Of the calls that come without a trace, so many are recorded.
    """
    if OTEL_TRACES_SAMPLER in os.environ:
        return None
    return ParentBased(root=SomePerSecond(per_second))


class SomePerSecond(Sampler):
    """Records all calls while there are few, and no more than so many when there are many.

    A share would miss the one call of a quiet hour that somebody looks for, and still cost a
    busy gateway much.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Record `per_second`; as many may come at once."""
        self._per_second = per_second
        self._most = max(per_second, 1.0)
        self._clock = clock
        self._left, self._seen = self._most, clock()

    def should_sample(  # noqa: PLR0917 - as OpenTelemetry has it.
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide for one call."""
        now = self._clock()
        self._left = min(self._most, self._left + self._per_second * (now - self._seen))
        self._seen = now
        state = get_current_span(parent_context).get_span_context().trace_state
        if self._left < 1:
            return SamplingResult(Decision.DROP, trace_state=state)
        self._left -= 1
        # A span has the attributes that its sampler gives it, and no others from its beginning.
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)

    def get_description(self) -> str:
        """As OpenTelemetry writes samplers."""
        return f"SomePerSecond{{{self._per_second}}}"
