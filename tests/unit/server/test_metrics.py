"""The scale of times, and the names of requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from dag_inference.errors import Subject, TaskFailed
from dag_inference_server.airflow.observer import operation_of
from dag_inference_server.metrics.buckets import COARSE, FINE
from dag_inference_server.metrics.gateway import GatewayMetrics
from dag_inference_server.metrics.rpcs import CODES


def quantile(share: float, times: list[float]) -> float:
    """What `histogram_quantile` of Prometheus reads off the buckets."""
    counts = [sum(time <= bound for time in times) for bound in FINE]
    rank = share * len(times)
    index = next(i for i, count in enumerate(counts) if count >= rank)
    lower = FINE[index - 1] if index else 0.0
    below = counts[index - 1] if index else 0
    return lower + (FINE[index] - lower) * (rank - below) / (counts[index] - below)


@given(
    times=st.lists(st.floats(0.05, 60), min_size=1, max_size=200),
    share=st.sampled_from([0.5, 0.9, 0.99]),
)
def test_a_quantile_is_a_quarter_off_at_most(times: list[float], share: float) -> None:
    """From 50 ms to 60 s, however the times lie in the buckets."""
    true = sorted(times)[math.ceil(share * len(times)) - 1]

    assert quantile(share, times) == pytest.approx(true, rel=0.25)


@pytest.mark.parametrize("scale", [FINE, COARSE], ids=["fine", "coarse"])
def test_the_scales(scale: Sequence[float]) -> None:
    """Rise from 5 ms to 10 min by two and a half times at most, by a half from 0.5 to 5 s."""
    assert (scale[0], scale[-1]) == (0.005, 600.0)
    assert all(1 < after / before <= 2.5 for before, after in pairwise(scale))
    short = [bound for bound in scale if 0.5 <= bound <= 5]
    assert (min(short), max(short)) == pytest.approx((0.5, 5), rel=0.25)
    assert all(after / before < 1.5 for before, after in pairwise(short))


def test_codes_are_named_as_in_go() -> None:
    """By their numbers; one of them is written otherwise than elsewhere."""
    assert set(CODES) == {code.value[0] for code in grpc.StatusCode}
    assert [CODES[number] for number in (0, 1, 4, 14, 16)] == [
        "OK",
        "Canceled",
        "DeadlineExceeded",
        "Unavailable",
        "Unauthenticated",
    ]


@pytest.mark.parametrize(
    ("base", "path", "operation"),
    [
        ("http://a", "/api/v2/version", "GET /version"),
        ("http://a", "/api/v2/dags/my.dag/details", "GET /dags/{}/details"),
        ("http://a", "/api/v2/dags/~/dagRuns?run_id=x&limit=1", "GET /dags/~/dagRuns"),
        (
            "http://a",
            "/api/v2/dags/d/dagRuns/grpc-1/taskInstances/t/xcomEntries/return_value?x=1",
            "GET /dags/{}/dagRuns/{}/taskInstances/{}/xcomEntries/{}",
        ),
        ("https://a/airflow", "/api/v2/dags/d/details", "GET /dags/{}/details"),
        ("https://a/airflow/dags", "/auth/token", "GET /auth/token"),
    ],
)
def test_a_request_is_named_without_ids(base: str, path: str, operation: str) -> None:
    """So that there are few names; where Airflow answers is no part of them."""
    assert operation_of("GET", base + path, base) == operation


def test_only_so_many_dags_have_series_of_their_own() -> None:
    """All others are one, however many there are."""
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    for number in range(120):
        subject = Subject(f"dag-{number}", "run", "failed")
        metrics.failed(f"dag-{number}", TaskFailed("", subject=subject), timedelta(seconds=1))

    (calls,) = (family for family in registry.collect() if family.name == "dag_inference_calls")
    failed = [s for s in calls.samples if s.labels["outcome"] == "TASK_FAILED"]
    assert len({sample.labels["dag_id"] for sample in failed}) == 101
    assert [sample.value for sample in failed if sample.labels["dag_id"] == "other"] == [20]
