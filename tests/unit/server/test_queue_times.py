"""How long runs are queued these days: the median of the last minute."""

from __future__ import annotations

import pytest

from dag_inference_server.invocation.queue_times import QueueTimes


class Clock:
    """Seconds, as a test says."""

    now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.mark.parametrize(
    ("seen", "usual"),
    [
        ([], None),
        ([5, 5], None),
        ([1, 2, 30], 2),
        ([1, 2, 3, 30], 2),
        ([100] * 50 + [1] * 32, 1),
    ],
)
def test_the_usual_time(seen: list[float], usual: float | None) -> None:
    """One unlucky run does not count, and two are too few; old ones are pushed out by new ones."""
    times = QueueTimes()
    for seconds in seen:
        times.saw("dag", seconds)
        times.saw("other", 7)

    assert times.usual("dag") == usual


def test_what_is_old_is_forgotten() -> None:
    """A queue that was long a minute ago refuses nobody: else nobody would ever find it empty."""
    clock = Clock()
    times = QueueTimes(clock)
    for _ in range(3):
        times.saw("dag", 9)
        clock.now += 10
    assert times.usual("dag") == 9
    clock.now += 31
    assert times.usual("dag") is None
    clock.now += 60
    assert times.usual("dag") is None
