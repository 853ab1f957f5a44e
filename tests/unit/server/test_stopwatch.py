"""Where the time of a call went."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dag_inference_server.airflow import DagRun, TaskInstance
from dag_inference_server.invocation import stopwatch
from dag_inference_server.invocation.stopwatch import Stopwatch

MakeRun = Callable[..., DagRun]
MakeInstance = Callable[..., TaskInstance]

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A stamp so long after the call came in."""
    return START + timedelta(seconds=seconds)


class Clock:
    """A clock that is set by hand, in seconds since the call came in."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return 1000 + self.seconds

    def now(self, _: Any) -> datetime:
        return at(self.seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The stopwatch's clock."""
    clock = Clock()
    monkeypatch.setattr(stopwatch, "time", clock)
    monkeypatch.setattr(stopwatch, "datetime", clock)
    return clock


@pytest.fixture
def make(make_run: MakeRun, make_instance: MakeInstance) -> tuple[MakeRun, MakeInstance]:
    """Both."""
    return make_run, make_instance


def seconds(timing: object) -> dict[str, float | None]:
    """A timing in seconds."""
    stages = ("trigger", "queued", "running", "detection", "value_read", "unattributed", "total")
    spans = {stage: getattr(timing, stage) for stage in stages}
    return {stage: None if span is None else span.total_seconds() for stage, span in spans.items()}


def test_the_stages_add_up_to_the_whole(
    clock: Clock, make_run: MakeRun, make_instance: MakeInstance
) -> None:
    """Triggered, queued, run, noticed, read; and what none of them explains."""
    watch = Stopwatch()
    watch.admitted()
    clock.seconds = 0.5
    watch.accepted()
    clock.seconds = 9
    watch.known()
    clock.seconds = 10
    first = make_instance("a", "success", start_date=at(1), end_date=at(2))
    result = make_instance("b", "success", start_date=at(3), end_date=at(8))
    later = make_instance("c", "running", start_date=at(8.5))
    unstarted = make_instance("d", None)

    timing = watch.timing(
        make_run("running", queued_at=at(0.25)), [result], [first, result, later, unstarted]
    )

    assert seconds(timing) == {
        "trigger": 0.5,
        "queued": 0.75,
        "running": 7,
        "detection": 1,
        "value_read": 1,
        "unattributed": 0,
        "total": 10,
    }


def test_what_is_not_known_is_left_out(clock: Clock, make_run: MakeRun) -> None:
    """A run that never started a task has no stages, only a whole."""
    watch = Stopwatch()
    watch.admitted()
    clock.seconds = 4
    watch.accepted()
    clock.seconds = 5

    timing = watch.timing(make_run("queued"), [], [])

    assert seconds(timing) == {
        "trigger": 4,
        "queued": None,
        "running": None,
        "detection": None,
        "value_read": 0,
        "unattributed": 1,
        "total": 5,
    }


def test_without_a_result_task_the_run_s_end_counts(
    clock: Clock, make_run: MakeRun, make_instance: MakeInstance
) -> None:
    """`running` then lasts until the run has ended."""
    watch = Stopwatch()
    clock.seconds = 8
    watch.known()
    task = make_instance("a", "success", start_date=at(2), end_date=at(5))

    timing = watch.timing(make_run("success", end_date=at(6)), [], [task])

    assert (timing.running, timing.detection) == (timedelta(seconds=4), timedelta(seconds=2))


def test_of_several_results_the_last_counts(
    clock: Clock, make_run: MakeRun, make_instance: MakeInstance
) -> None:
    """From the first task's start to the last result's end."""
    results = [
        make_instance(f"m[{n}]", "success", start_date=at(n + 1), end_date=at(n + 3))
        for n in (2, 0, 1)
    ]

    timing = Stopwatch().timing(make_run("running"), results, results)

    assert timing.running == timedelta(seconds=4)


def test_the_last_time_that_the_result_was_known_counts(
    clock: Clock, make_run: MakeRun, make_instance: MakeInstance
) -> None:
    """A run may be cleared while its value is read, and then succeed once more."""
    watch = Stopwatch()
    clock.seconds = 3
    watch.known()
    clock.seconds = 7
    watch.known()
    clock.seconds = 8
    result = make_instance("a", "success", start_date=at(5), end_date=at(6))

    timing = watch.timing(make_run("running"), [result], [result])

    assert (timing.detection, timing.value_read) == (timedelta(seconds=1), timedelta(seconds=1))


@pytest.mark.parametrize("skew", [-3600, -1, 1, 3600])
def test_a_clock_that_differs(
    clock: Clock, make_run: MakeRun, make_instance: MakeInstance, skew: float
) -> None:
    """By when the call's own run was made it is known, so well as the trigger is short."""
    watch = Stopwatch()
    clock.seconds = 0.5
    watch.admitted()
    clock.seconds = 0.7
    queued_at = at(0.6 + skew)
    watch.accepted(queued_at)
    clock.seconds = 9
    watch.known()
    first = make_instance("a", "success", start_date=at(1 + skew), end_date=at(2 + skew))
    result = make_instance("b", "success", start_date=at(3 + skew), end_date=at(8 + skew))
    # One that was cleared since is queued once more, which says nothing of the clocks.
    cleared = make_run("running", queued_at=at(0.9 + skew))

    timing = watch.timing(cleared, [result], [first, result])

    assert timing.queued == timedelta(seconds=0.1)
    assert timing.running == timedelta(seconds=7)
    assert timing.detection is not None
    assert abs(timing.detection - timedelta(seconds=1)) <= timedelta(seconds=0.1)


def test_a_run_of_before(clock: Clock, make_run: MakeRun, make_instance: MakeInstance) -> None:
    """What of a run passed before the call came in is no part of the call."""
    watch = Stopwatch()
    clock.seconds = 1
    watch.accepted()
    clock.seconds = 6
    watch.known()
    result = make_instance("a", "success", start_date=at(-3), end_date=at(5))

    timing = watch.timing(make_run("running", queued_at=at(-8)), [result], [result])

    assert (timing.queued, timing.running) == (timedelta(0), timedelta(seconds=5))
    assert timing.detection == timedelta(seconds=1)


@pytest.mark.parametrize("skew", [-3600, -1, 1, 3600])
def test_no_stage_is_negative_whatever_the_clocks(
    clock: Clock, make_run: MakeRun, make_instance: MakeInstance, skew: float
) -> None:
    """Airflow's hosts and ours need not agree on the time; nor need two workers."""
    watch = Stopwatch()
    watch.admitted()
    clock.seconds = 1
    watch.accepted()
    watch.known()
    clock.seconds = 2
    ours = make_instance("a", "success", start_date=at(skew), end_date=at(0.5))
    theirs = make_instance("b", "success", start_date=at(0.5), end_date=at(-skew))

    timing = watch.timing(make_run("running", queued_at=at(0)), [ours, theirs], [ours, theirs])

    assert all(span is not None and span >= 0 for span in seconds(timing).values())
    assert timing.total == timedelta(seconds=2)


def test_an_error_before_the_run_is_asked_for(clock: Clock) -> None:
    """All was admission, and nothing is left of it."""
    watch = Stopwatch()
    clock.seconds = 2

    timing = watch.so_far(None, [], None, sees_starts=False)

    assert timing.admission == timing.total == timedelta(seconds=2)
    assert {span for stage, span in seconds(timing).items() if stage != "total"} == {None}


def test_an_error_before_there_is_a_run(clock: Clock) -> None:
    """The trigger is under way, and ends now."""
    watch = Stopwatch()
    clock.seconds = 0.5
    watch.admitted()
    clock.seconds = 3

    timing = watch.so_far(None, [], None, sees_starts=False)

    assert timing.admission == timedelta(seconds=0.5)
    assert seconds(timing) == {
        "trigger": 2.5,
        "queued": None,
        "running": None,
        "detection": None,
        "value_read": None,
        "unattributed": 0,
        "total": 3,
    }


@pytest.mark.parametrize("skew", [-3600, 0, 3600])
@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ((None, None), (8, None, 0)),
        ((4, None), (3, 5, 0)),
        ((4, 6), (3, 2, 3)),
    ],
    ids=["nothing has started", "a task runs", "a task has failed"],
)
def test_an_error_of_a_run(
    clock: Clock,
    make: tuple[MakeRun, MakeInstance],
    skew: float,
    stamps: tuple[float | None, float | None],
    expected: tuple[float, float | None, float],
) -> None:
    """Of Airflow's stages those that are over, and the one that is under way, by its clock."""
    make_run, make_instance = make
    started, ended = (None if stamp is None else at(stamp + skew) for stamp in stamps)
    watch = Stopwatch()
    clock.seconds = 1
    # In no time, so that it is known exactly how clocks differ.
    watch.admitted()
    watch.accepted(at(1 + skew))
    clock.seconds = 9
    task = make_instance("a", "running", start_date=started, end_date=ended)

    timing = watch.so_far(
        make_run("running", queued_at=at(1 + skew)), [task], ended, sees_starts=True
    )

    told = seconds(timing)
    assert (told["queued"], told["running"], told["unattributed"]) == expected
    assert timing.ended_at == (ended or at(9 + skew))


@pytest.mark.parametrize(("started", "queued", "left"), [(None, None, 8), (3, 2, 6)])
def test_an_error_of_a_run_whose_tasks_are_not_seen_to_start(
    clock: Clock,
    make_run: MakeRun,
    started: float | None,
    queued: float | None,
    left: float,
) -> None:
    """It was queued until it started itself, as far as that is known; the rest is nobody's."""
    watch = Stopwatch()
    watch.admitted()
    clock.seconds = 1
    watch.accepted(at(1))
    clock.seconds = 9
    run = make_run("running", queued_at=at(1), start_date=None if started is None else at(started))

    timing = watch.so_far(run, [], None, sees_starts=False)

    told = seconds(timing)
    assert (told["queued"], told["running"], told["unattributed"]) == (queued, None, left)
