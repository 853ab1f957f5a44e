"""What becomes of requests, as the breaker takes it in."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from dag_inference.errors import AirflowDenied, AirflowUnavailable, Subject
from dag_inference_server.airflow import Breaker


def ask(breaker: Breaker, error: BaseException | None = None, *, answered: bool = True) -> None:
    """Make a request."""
    given_up = suppress(AirflowDenied, AirflowUnavailable, asyncio.CancelledError)
    with given_up, breaker.asking() as asked:
        asked.is_answered = answered
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [None, AirflowDenied("no"), asyncio.CancelledError()])
def test_an_answer(error: BaseException | None) -> None:
    """Is one whatever it says, and whatever becomes of who asked."""
    breaker = Breaker()
    ask(breaker, AirflowUnavailable("silence"))

    ask(breaker, error)

    assert (breaker.is_up, breaker.is_in_doubt) == (True, False)


@pytest.mark.parametrize("error", [AirflowDenied("no secret"), asyncio.CancelledError()])
def test_what_was_given_up_before_it_was_sent(error: BaseException) -> None:
    """Says nothing of Airflow."""
    breaker = Breaker()
    ask(breaker, AirflowUnavailable("silence"))

    ask(breaker, error, answered=False)

    assert (breaker.is_up, breaker.is_in_doubt) == (False, True)


def test_what_cannot_be_read() -> None:
    """Is no answer, although one has come."""
    breaker = Breaker()
    ask(breaker)

    ask(breaker, AirflowUnavailable("a page"))

    assert (breaker.is_up, breaker.is_in_doubt) == (False, True)


def test_the_log_has_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """That Airflow is away, with what the last failure was; and that it is back, and after what."""
    monkeypatch.setattr("dag_inference_server.airflow.breaker._SINCE", 0.0)
    breaker = Breaker()

    with capture_logs() as lines:
        for number in range(10):
            ask(breaker, AirflowUnavailable(f"failure {number}"))
        away = [*lines]
        ask(breaker)
        ask(breaker)

    assert away == [
        {"event": "airflow_is_away", "error": "failure 4", "log_level": "warning"},
    ]
    (back,) = lines[1:]
    assert (back["event"], back["log_level"]) == ("airflow_is_back", "info")
    assert back["unanswered_for"] >= 0


def test_a_call_that_is_kept_away_is_no_riddle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may have failed since Airflow has become away, which takes time alone."""
    breaker = Breaker()

    with capture_logs() as lines:
        for _ in range(10):
            ask(breaker, AirflowUnavailable("silence"))
        assert not lines
        monkeypatch.setattr("dag_inference_server.airflow.breaker._SINCE", 0.0)
        for _ in range(3):
            with pytest.raises(AirflowUnavailable):
                breaker.check(Subject("dag"))

    assert [line["event"] for line in lines] == ["airflow_is_away"]


class Clock:
    """Seconds, as a test wants them."""

    now = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.now


def test_who_stops_waiting() -> None:
    """Tells of a silence once they have waited for long, and each half second counts once."""
    clock = Clock()
    breaker = Breaker(clock)
    ask(breaker)
    clock.now += 5

    assert not breaker.stopped_waiting(clock.now - 0.4)
    assert breaker.is_up
    for half in range(5):
        assert not breaker.is_open
        for _ in range(20):
            assert breaker.stopped_waiting(clock.now - 1 - half)
        clock.now += 0.5
    assert (breaker.is_up, breaker.is_open) == (False, True)


def test_who_stops_waiting_just_after_an_answer() -> None:
    """Says nothing of Airflow: it has answered somebody else meanwhile."""
    clock = Clock()
    breaker = Breaker(clock)
    ask(breaker)
    clock.now += 0.4

    for _ in range(20):
        assert breaker.stopped_waiting(clock.now - 2)

    assert (breaker.is_up, breaker.is_in_doubt) == (True, False)


def test_who_stops_waiting_for_what_is_told_anybody() -> None:
    """Proves nothing, and hides no silence of what calls need."""
    clock = Clock()
    breaker = Breaker(clock)
    ask(breaker)
    clock.now += 5

    assert breaker.stopped_waiting(clock.now - 1, proves=False)
    assert (breaker.is_up, breaker.is_in_doubt) == (True, True)
    assert breaker.stopped_waiting(clock.now - 1)
    assert not breaker.is_up


def test_what_is_told_anybody() -> None:
    """Proves nothing; that it is not told is a reason to try what calls need."""
    breaker = Breaker()
    ask(breaker)

    with pytest.raises(AirflowUnavailable), breaker.asking(proves=False):
        raise AirflowUnavailable("no health")
    assert (breaker.is_up, breaker.is_in_doubt) == (True, True)

    with breaker.asking(proves=False) as asked:
        asked.is_answered = True
    assert breaker.is_in_doubt
