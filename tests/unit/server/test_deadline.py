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
        (3600, 0.25),
    ],
)
def test_it_leaves_in_time(time_remaining: float, expected: float) -> None:
    """A share of what there is, within bounds."""
    assert margin(time_remaining) == pytest.approx(expected)
