"""The scale of times, and what is bounded."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from dag_inference.errors import Subject, TaskFailed
from dag_inference_server.metrics.buckets import BUCKETS
from dag_inference_server.metrics.gateway import GatewayMetrics
from dag_inference_server.metrics.rpcs import CODES


def quantile(share: float, times: list[float]) -> float:
    """What `histogram_quantile` of Prometheus reads off the buckets."""
    counts = [sum(time <= bound for time in times) for bound in BUCKETS]
    rank = share * len(times)
    index = next(i for i, count in enumerate(counts) if count >= rank)
    lower = BUCKETS[index - 1] if index else 0.0
    below = counts[index - 1] if index else 0
    return lower + (BUCKETS[index] - lower) * (rank - below) / (counts[index] - below)


@given(
    times=st.lists(st.floats(0.05, 60), min_size=1, max_size=200),
    share=st.sampled_from([0.5, 0.9, 0.99]),
)
def test_a_quantile_is_a_quarter_off_at_most(times: list[float], share: float) -> None:
    """From 50 ms to 60 s, however the times lie in the buckets."""
    true = sorted(times)[math.ceil(share * len(times)) - 1]

    assert quantile(share, times) == pytest.approx(true, rel=0.25)


def test_the_scale() -> None:
    """Rises from 5 ms to 10 min, by a quarter from 50 ms to 60 s."""
    assert (BUCKETS[0], BUCKETS[-1]) == (0.005, 600.0)
    steps = [(before, after / before) for before, after in pairwise(BUCKETS)]
    assert all(1 < step <= 2.5 for _, step in steps)
    assert all(step <= 1.25 for before, step in steps if 0.05 <= before <= 48)


def test_codes_are_named_as_in_go() -> None:
    """By their numbers (grpc-go, `codes/code_string.go`); one is written as nowhere else."""
    assert set(CODES) == {code.value[0] for code in grpc.StatusCode}
    assert [CODES[number] for number in range(17)] == [
        *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound"),
        *("AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition"),
        *("Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss"),
        "Unauthenticated",
    ]


def test_only_so_many_dags_have_series_of_their_own() -> None:
    """All others are one, however many there are."""
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry, max_dags=5)
    for number in range(8):
        subject = Subject(f"dag-{number}", "run", "failed")
        metrics.failed(f"dag-{number}", TaskFailed("", subject=subject), timedelta(seconds=1))

    (calls,) = (family for family in registry.collect() if family.name == "dag_inference_calls")
    failed = [s for s in calls.samples if s.labels["outcome"] == "TASK_FAILED"]
    assert len({sample.labels["dag_id"] for sample in failed}) == 6
    assert [sample.value for sample in failed if sample.labels["dag_id"] == "other"] == [3]


@pytest.mark.parametrize(
    ("trace_id", "run_id", "exemplar"),
    [
        ("t" * 32, "r" * 82, {"trace_id": "t" * 32, "run_id": "r" * 82}),
        ("t" * 32, "r" * 83, {"trace_id": "t" * 32}),
        (None, "r" * 122, {"run_id": "r" * 122}),
        (None, "r" * 123, None),
    ],
)
def test_an_exemplar(trace_id: str | None, run_id: str, exemplar: dict[str, str] | None) -> None:
    """Names the trace, and the run if both fit in the 128 characters of OpenMetrics."""
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry, max_dags=5, trace_id=lambda: trace_id)
    error = TaskFailed("", subject=Subject("dag", run_id, "failed"))

    metrics.failed("dag", error, timedelta(seconds=1))

    samples = [sample for family in registry.collect() for sample in family.samples]
    told = [sample.exemplar.labels for sample in samples if sample.exemplar]
    assert told == ([exemplar, exemplar] if exemplar else [])
    assert all(sum(map(len, (*each, *each.values()))) <= 128 for each in told)
