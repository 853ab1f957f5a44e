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


class Clock:
    """Seconds, as a test wants them."""

    now = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The breaker's."""
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """Of an Airflow that has answered."""
    breaker = Breaker(clock)
    ask(breaker)
    return breaker


def fail(breaker: Breaker, times: int, why: str = "silence") -> None:
    """Make requests that are not answered."""
    for _ in range(times):
        ask(breaker, AirflowUnavailable(why))


def test_failures(breaker: Breaker, clock: Clock) -> None:
    """Five of them, and two seconds since the first: Airflow is away until its next answer."""
    fail(breaker, 4)
    clock.now += 2
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open

    ask(breaker)
    assert not breaker.is_open
    fail(breaker, 10)
    clock.now += 1.9
    assert not breaker.is_open
    clock.now += 0.1
    assert breaker.is_open


def test_trials_that_are_not_answered(breaker: Breaker, clock: Clock) -> None:
    """For two seconds: Airflow is away, although nothing has failed, until its next answer."""
    breaker.tried()
    clock.now += 1
    breaker.tried()
    clock.now += 0.9
    assert (breaker.is_open, breaker.is_up) == (False, True)
    clock.now += 0.1
    assert (breaker.is_open, breaker.is_up) == (True, False)

    ask(breaker)

    assert (breaker.is_open, breaker.is_up) == (False, True)


def test_a_trial_whose_account_is_refused(breaker: Breaker, clock: Clock) -> None:
    """Tells nothing, but that Airflow is there."""
    breaker.tried()
    clock.now += 1

    ask(breaker, AirflowDenied("no"), answered=False)

    clock.now += 100
    assert not breaker.is_open


@pytest.mark.parametrize(("took", "patience"), [(0.2, 2), (3, 6), (60, 10)])
def test_a_slow_airflow(breaker: Breaker, clock: Clock, took: float, patience: float) -> None:
    """May be silent for twice as long as its last answer took, up to ten seconds."""
    with breaker.asking() as asked:
        clock.now += took
        asked.is_answered = True

    breaker.tried()
    clock.now += patience - 0.1
    assert not breaker.is_open
    clock.now += 0.1
    assert breaker.is_open


def test_who_stops_waiting(breaker: Breaker, clock: Clock) -> None:
    """After half a second: Airflow should be tried, and no more, however many they are."""
    for _ in range(20):
        assert not breaker.stopped_waiting(clock.now - 0.4)
    assert not breaker.is_in_doubt

    for _ in range(20):
        assert breaker.stopped_waiting(clock.now - 0.5)
    clock.now += 100
    assert (breaker.is_in_doubt, breaker.is_up, breaker.is_open) == (True, True, False)


def test_the_log_has_it_once(breaker: Breaker, clock: Clock) -> None:
    """That Airflow is away, with what the last failure was; and that it is back, and after what."""
    with capture_logs() as lines:
        fail(breaker, 10, "Airflow answers 503")
        breaker.tell()
        assert not lines
        clock.now += 3
        for _ in range(3):
            breaker.tell()
        clock.now += 3
        fail(breaker, 10, "Airflow answers 500")
        breaker.tell()
        ask(breaker)
        for _ in range(3):
            breaker.tell()

    assert lines == [
        {"event": "airflow_is_away", "error": "Airflow answers 503", "log_level": "warning"},
        {"event": "airflow_is_back", "unanswered_for": 6.0, "log_level": "info"},
    ]


def test_the_log_has_that_airflow_hangs(breaker: Breaker, clock: Clock) -> None:
    """From when it was tried first, although nothing has failed."""
    breaker.tried()
    clock.now += 2

    with capture_logs() as lines:
        breaker.tell()
        clock.now += 10
        ask(breaker)
        breaker.tell()

    away, back = lines
    assert away["error"] == "Airflow does not answer: it takes too long"
    assert back["unanswered_for"] == 12


def test_calls_that_are_kept_away(breaker: Breaker, clock: Clock) -> None:
    """Are told what they are about, and when to come back."""
    breaker.check(Subject("dag"))
    breaker.tried()
    clock.now += 2

    with pytest.raises(AirflowUnavailable) as caught:
        breaker.check(Subject("dag"))

    assert caught.value.subject.dag_id == "dag"
    assert caught.value.retry_after


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
