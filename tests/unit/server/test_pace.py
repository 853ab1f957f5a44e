"""Airflow is asked fast while young runs are in flight, and left alone in trouble."""

from __future__ import annotations

import pytest

from dag_inference_server.watcher import Pace

PACE = Pace(shortest=0.1, longest=0.5, troubled=2)


@pytest.mark.parametrize(
    ("youngest", "took", "failures", "at_least", "at_most"),
    [
        pytest.param(0, 0, 0, 0.1, 0.1, id="the floor for a new run"),
        pytest.param(5, 0, 0, 0.1, 0.1, id="a fiftieth of its age"),
        pytest.param(10, 0, 0, 0.1, 0.2, id="grows with it"),
        pytest.param(3600, 0, 0, 0.1, 0.5, id="up to the ceiling"),
        pytest.param(-60, 0, 0, 0.1, 0.1, id="a run made by a clock that is ahead"),
        pytest.param(10, 0.05, 0, 0.05, 0.15, id="from one look's start to the next one's"),
        pytest.param(10, 0.18, 0, 0.09, 0.09, id="never more than two thirds of the time"),
        pytest.param(10, 0.8, 0, 0.4, 0.4, id="a slow Airflow is asked less"),
        pytest.param(10, 9, 0, 0.5, 0.5, id="and not much less: the ceiling"),
        pytest.param(0, 0, 1, 0.2, 0.2, id="twice the floor after a failure"),
        pytest.param(0, 0, 3, 0.8, 0.8, id="doubled by each"),
        pytest.param(3600, 9, 99, 2, 2, id="up to a bound"),
    ],
)
def test_how_long_it_rests(
    youngest: float, took: float, failures: int, at_least: float, at_most: float
) -> None:
    """By the youngest run's age, what the look took, and whether it went well.

    A new run shortens the rest to the floor, and no trouble.
    """
    rest = PACE.rest(youngest=youngest, took=took, failures=failures)

    assert rest == pytest.approx((at_least, at_most))


def test_a_slower_pace() -> None:
    """Keeps its bound for trouble."""
    assert PACE.slower(2) == Pace(shortest=0.2, longest=1, troubled=2)
