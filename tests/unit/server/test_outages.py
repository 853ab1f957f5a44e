"""Trouble that lasts is told once a minute, each cause for itself."""

from __future__ import annotations

from dag_inference_server.outages import Outages


def test_what_fails_at_every_turn_is_told_once_a_minute() -> None:
    """However many things fail by turns, and for whatever causes."""
    now = 100.0
    outages = Outages(lambda: now)

    def told() -> list[bool]:
        return [outages.is_news(*each) for each in (("one", "503"), ("two", "403"), ("one", "502"))]

    assert told() == [True, True, True]
    now += 59
    assert told() == [False, False, False]
    now += 2
    assert told() == [True, True, True]


def test_what_is_over_and_fails_again_is_news() -> None:
    """And what fails beside it is none for that."""
    outages = Outages(lambda: 100.0)
    for what in ("one", "two"):
        outages.is_news(what, "503")

    outages.over("one")

    assert outages.is_news("one", "503")
    assert not outages.is_news("two", "503")


def test_what_callers_name_is_not_kept_for_ever() -> None:
    """The oldest are forgotten first."""
    outages = Outages(lambda: 100.0)
    for number in range(2000):
        outages.is_news(number, "503")

    assert not outages.is_news(1999, "503")
    assert outages.is_news(0, "503")
