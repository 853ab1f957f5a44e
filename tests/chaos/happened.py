"""What there was in a story: one in which nothing happens shows nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from grpc import StatusCode

from chaos import judge
from chaos.airflow import BY_HAND
from chaos.calls import METHODS, Call
from chaos.truth import Truth

_TOLD = {
    *("TASK_FAILED", "RUN_CANCELLED", "RUN_TIMED_OUT", "RUN_NOT_FOUND"),
    *("DEADLINE_EXCEEDED", "AIRFLOW_UNAVAILABLE", "SHUTTING_DOWN"),
    *("no word of ours", "the run of an earlier call"),
}

_ENDS = {BY_HAND, judge.BY_REQUEST, judge.AT_DEADLINE, judge.ON_LEAVING, judge.TIMED_OUT}
"""Who ended runs, by their notes."""

_MISHAPS = {"killed", "drained", "away", "trouble", "left", "retry", "clear", "delete"}
"""As lines of a story begin."""

_SKEW = "by a clock"

EVERYTHING: Collection[str] = {*(f"{m} OK" for m in METHODS)} | _TOLD | _ENDS | _MISHAPS | {_SKEW}


def happened(calls: Sequence[Call], story: Sequence[str], truth: Truth) -> Counter[str]:
    """How often there was what, `EVERYTHING` and more."""
    met = Counter(_of_calls(calls)) + Counter(line.split()[1] for line in story)
    met[_SKEW] = sum(_SKEW in line for line in story)
    notes = [str(span.value) for span in truth.spans()]
    return met + Counter(end for end in _ENDS for note in notes if note.startswith(end))


def _of_calls(calls: Sequence[Call]) -> Iterator[str]:
    for call in calls:
        if call.code is StatusCode.OK:
            yield f"{call.method} OK"
        else:
            yield (call.failure and call.failure.reason) or "no word of ours"
        if call.was_attached:
            yield "the run of an earlier call"
