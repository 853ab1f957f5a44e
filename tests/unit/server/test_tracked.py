"""A run in flight: what is known of it only goes forward, and its followers hear of it once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import pytest

from dag_inference_server.airflow import DagRun, TaskInstance
from dag_inference_server.watcher.tracked import Follower, TrackedRun

MakeRun = Callable[..., DagRun]
MakeInstance = Callable[..., TaskInstance]

NOON = datetime.fromisoformat("2026-03-01T12:00:00Z")
LATER = datetime.fromisoformat("2026-03-01T12:05:00Z")


@pytest.fixture
def tracked() -> TrackedRun:
    """A run of which nothing is known yet."""
    return TrackedRun(("d", "r"), NOON)


@pytest.mark.parametrize(
    ("known", "read", "stays"),
    [
        ("queued", "running", "running"),
        ("running", "queued", "running"),
        ("running", "success", "success"),
        ("success", "running", "success"),
        ("failed", "queued", "failed"),
        ("success", "failed", "failed"),
    ],
)
def test_a_late_answer_never_turns_a_run_back(
    tracked: TrackedRun, make_run: MakeRun, known: str, read: str, stays: str
) -> None:
    """Polls of two kinds overlap; what ended has ended."""
    tracked.learn(make_run(known, queued_at=NOON), [])
    tracked.learn(make_run(read, queued_at=NOON), [])

    assert tracked.run == make_run(stays, queued_at=NOON)


def test_a_cleared_run_starts_again(tracked: TrackedRun, make_run: MakeRun) -> None:
    """It is queued anew, with a new stamp."""
    tracked.learn(make_run("success", queued_at=NOON), [])
    tracked.learn(make_run("queued", queued_at=LATER), [])

    assert tracked.run == make_run("queued", queued_at=LATER)


@pytest.mark.parametrize("final", ["success", "failed", "upstream_failed", "skipped", "removed"])
@pytest.mark.parametrize("late", [None, "scheduled", "queued", "running", "up_for_retry"])
def test_a_late_answer_never_turns_a_task_back(
    tracked: TrackedRun, make_instance: MakeInstance, final: str, late: str | None
) -> None:
    """Within one try, what is final stays."""
    tracked.learn(None, [make_instance("a", "running")])
    tracked.learn(None, [make_instance("a", final)])
    tracked.learn(None, [make_instance("a", late)])

    assert [each.state for each in tracked.snapshot().of_task("a")] == [final]


def test_a_new_try_replaces_the_old_one(tracked: TrackedRun, make_instance: MakeInstance) -> None:
    """A task that was cleared runs again: its id is another one."""
    tracked.learn(None, [make_instance("a", "failed", id="first")])
    again = make_instance("a", "running", id="second", try_number=2)
    tracked.learn(None, [again])

    assert tracked.snapshot().of_task("a") == [again]


def test_map_indexes_are_told_apart_and_in_order(
    tracked: TrackedRun, make_instance: MakeInstance
) -> None:
    """By number, and apart from other tasks."""
    names = ["m[10]", "m[2]", "mm[0]", "m"]
    tracked.learn(None, [make_instance(name, "success") for name in names])

    assert [each.map_index for each in tracked.snapshot().of_task("m")] == [-1, 2, 10]


def test_a_snapshot_does_not_change(tracked: TrackedRun, make_instance: MakeInstance) -> None:
    """What a call looks at stays as it was while more becomes known."""
    before = tracked.snapshot()
    tracked.learn(None, [make_instance("a", "success")])

    assert not before.instances
    assert tracked.snapshot().instances


async def test_news_wakes_every_follower_once(
    tracked: TrackedRun, make_run: MakeRun, make_instance: MakeInstance
) -> None:
    """The same again, or older, is no news."""
    followers = [Follower(tracked), Follower(tracked)]
    waiting = [asyncio.create_task(each.news(since=each.look())) for each in followers]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)

    tracked.learn(make_run("running"), [make_instance("a", "success")])
    news = [await task for task in waiting]
    assert [snapshot.run for snapshot in news] == [make_run("running")] * 2

    waiting = [
        asyncio.create_task(each.news(since=seen))
        for each, seen in zip(followers, news, strict=True)
    ]
    tracked.learn(make_run("running"), [make_instance("a", "success")])
    tracked.learn(make_run("queued"), [make_instance("a", "running")])
    tracked.learn(None, [])
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()


async def test_news_between_a_look_and_the_wait_is_not_missed(
    tracked: TrackedRun, make_run: MakeRun
) -> None:
    """A call that looks, thinks and then waits hears at once of what came meanwhile."""
    follower = Follower(tracked)
    seen = follower.look()
    tracked.learn(make_run("running"), [])
    follower.look()

    assert (await follower.news(since=seen)).run == make_run("running")


async def test_what_one_call_learns_all_hear(tracked: TrackedRun, make_run: MakeRun) -> None:
    """Calls of the same run share what they read."""
    reader, other = Follower(tracked), Follower(tracked)
    seen = other.look()
    reader.learn(make_run("success"))

    assert (await other.news(since=seen)).run == make_run("success")


def test_only_what_is_still_so_is_forgotten(
    tracked: TrackedRun, make_instance: MakeInstance
) -> None:
    """An instance that turned out to be gone is dropped, its successor is not."""
    follower = Follower(tracked)
    old, new = make_instance("a", "success"), make_instance("a", "running", id="second")
    follower.learn(instances=[old])
    follower.learn(instances=[new])
    follower.forget(old)
    assert follower.look().of_task("a") == [new]

    follower.forget(new)
    assert follower.look().of_task("a") == []


def test_the_age_of_a_run_is_airflow_s(tracked: TrackedRun, make_run: MakeRun) -> None:
    """A run may be older than this gateway's interest in it."""
    assert tracked.made == NOON

    tracked.learn(make_run("running", run_after=LATER), [])

    assert tracked.made == LATER


@pytest.mark.parametrize(("run", "stuck"), [("queued", True), ("running", False)])
def test_a_run_that_has_not_started_may_be_stuck(
    tracked: TrackedRun, make_run: MakeRun, make_instance: MakeInstance, run: str, stuck: bool
) -> None:
    """As far as is known: a task of it that has ended shows that it has."""
    assert not tracked.may_be_stuck

    tracked.learn(make_run(run), [])
    assert tracked.may_be_stuck is stuck

    tracked.learn(None, [make_instance("a", "success")])
    assert not tracked.may_be_stuck


def test_a_full_read_forgets_what_is_gone(
    tracked: TrackedRun, make_run: MakeRun, make_instance: MakeInstance
) -> None:
    """Expanded, or deleted; what came while it was read is newer, and stays."""
    tracked.learn(make_run("running"), [make_instance("m", "upstream_failed")])
    known = list(tracked.instances)
    tracked.learn(None, [make_instance("late", "success")])

    tracked.replace(make_run("running"), [make_instance("m[0]", "running")], known)

    assert [each.map_index for each in tracked.snapshot().of_task("m")] == [0]
    assert [each.state for each in tracked.snapshot().of_task("late")] == ["success"]


async def test_a_stuck_run_is_news_until_it_starts(tracked: TrackedRun, make_run: MakeRun) -> None:
    """It is told once."""
    follower = Follower(tracked)
    seen = follower.look()
    tracked.get_stuck()
    told = await follower.news(since=seen)
    tracked.get_stuck()

    assert told.stuck
    assert follower.look() == told

    tracked.learn(make_run("running"), [])
    assert not follower.look().stuck


def test_a_run_has_a_stream_while_one_follows(tracked: TrackedRun) -> None:
    """Only for those the states on the way are asked for."""
    unary = Follower(tracked)
    stream = Follower(tracked, every_state=True)
    assert tracked.has_stream

    stream.leave()
    assert not tracked.has_stream
    unary.leave()
    assert tracked.followers == set()
