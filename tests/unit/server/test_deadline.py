"""How long before the caller's deadline an answer leaves."""

from __future__ import annotations

import pytest

from dag_inference_server.edge.deadline import margin


@pytest.mark.parametrize(
    ("time_remaining", "expected"),
    [
        (0.05, 0.03),
        (1, 0.15),
        (60, 0.25),
        pytest.param(121, 1.25, id="a deadline of 120.2 s, as gRPC tells it"),
        pytest.param(1210, 10.25, id="of 1201 s"),
        pytest.param(10_100, 100.25, id="of 10,001 s"),
    ],
)
def test_it_leaves_in_time(time_remaining: float, expected: float) -> None:
    """A share of what there is, and for long deadlines what gRPC may have put on top of it."""
    assert margin(time_remaining) == pytest.approx(expected)
