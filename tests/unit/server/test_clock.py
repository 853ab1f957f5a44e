"""Airflow's clock is known from stamps that are older than the answer they came in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dag_inference_server.airflow.clock import Clock


def ahead(clock: Clock) -> float:
    """Seconds that it is ahead of ours."""
    return (clock.now() - datetime.now(UTC)).total_seconds()


def saw(clock: Clock, seconds: float) -> None:
    """An answer came with a stamp so far ahead of our clock."""
    clock.saw(datetime.now(UTC) + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("stamps", "best"),
    [
        pytest.param([], 0, id="ours until something is known"),
        pytest.param([-0.9], -0.9, id="the first stamp counts"),
        pytest.param([-0.9, -0.2], -0.2, id="a later one is better"),
        pytest.param([-0.2, -0.9, -1.9], -0.2, id="an older one is not"),
        pytest.param([7200, 7199.2], 7200, id="however far the clocks are apart"),
        pytest.param([7200, -7200], -7200, id="unless it was set back"),
    ],
)
def test_the_latest_stamp_is_the_best(stamps: list[float], best: float) -> None:
    """Every stamp is a lower bound of the time in Airflow."""
    clock = Clock()
    for stamp in stamps:
        saw(clock, stamp)

    assert ahead(clock) == pytest.approx(best, abs=0.1)
