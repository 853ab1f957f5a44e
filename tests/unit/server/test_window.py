"""Each look reaches back behind the last one that went well, a little often, far seldom."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dag_inference_server.watcher.window import Window

NOON = datetime.fromisoformat("2026-03-01T12:00:00Z")


def at(seconds: float) -> datetime:
    """So long after noon."""
    return NOON + timedelta(seconds=seconds)


def test_a_look_reaches_back_a_little() -> None:
    """Rows show a moment after their stamp."""
    window = Window(NOON)
    window.looked(at(1))

    assert window.since(at(2)) == at(1 - 1)


def test_after_failures_it_reaches_back_further() -> None:
    """To the last look that went well, however long ago."""
    window = Window(NOON)
    window.looked(at(1))

    assert window.since(at(14)) == at(1 - 1)


def test_ever_so_often_it_reaches_back_far() -> None:
    """For rows that were committed late, and clocks that differ; then a little again."""
    window = Window(NOON)
    window.looked(at(15))
    assert window.since(at(15.5)) == at(-30)

    window.looked(at(15.5))
    assert window.since(at(16)) == at(14.5)
    assert window.since(at(31)) == at(15.5 - 30)


@given(
    gaps=st.lists(st.floats(0.02, 40), min_size=1, max_size=60),
    fails=st.lists(st.booleans(), min_size=60, max_size=60),
    stamp=st.floats(0, 60),
    late=st.floats(0, 30),
)
def test_no_row_is_lost(gaps: list[float], fails: list[bool], stamp: float, late: float) -> None:
    """Every row that shows at most 30 s after its stamp is in a look within 60 s of good looks."""
    window, moment, seen = Window(NOON), 0.0, False
    shows_at = stamp + late
    for gap, failed in zip(gaps, fails, strict=False):
        moment += gap
        since = window.since(at(moment))
        if failed:
            continue
        window.looked(at(moment))
        seen = seen or (moment >= shows_at and since <= at(stamp))

    good = [at_ for at_, failed in _moments(gaps, fails) if not failed and at_ >= shows_at]
    if good and good[-1] > good[0] + 16:
        assert seen


def _moments(gaps: list[float], fails: list[bool]) -> list[tuple[float, bool]]:
    moment, made = 0.0, []
    for gap, failed in zip(gaps, fails, strict=False):
        moment += gap
        made.append((moment, failed))
    return made


def test_a_clock_that_was_set_back() -> None:
    """What was thought to be an hour later is forgotten, not waited for."""
    window = Window(NOON)
    window.looked(at(3600))

    assert window.since(at(5)) == at(5 - 30)
    window.looked(at(5))
    assert window.since(at(6)) == at(4)


@pytest.mark.parametrize("seconds", [0, 3, 15])
def test_it_begins_now(seconds: float) -> None:
    """What changed before anybody asked is read when a call attaches."""
    assert Window(NOON).since(at(seconds)) == at(-1)
