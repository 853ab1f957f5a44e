"""When a run has its result, has lost it, or may still get it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from dag_inference_server.airflow import DagRun, TaskInstance
from dag_inference_server.catalog.plan import Plan
from dag_inference_server.invocation.verdict import (
    Ended,
    Lost,
    Pending,
    Ready,
    Unlisted,
    Verdict,
    decide,
)
from dag_inference_server.watcher import Snapshot

Judge = Callable[..., str]


@pytest.fixture
def judge(
    make_plan: Callable[..., Plan],
    make_run: Callable[..., DagRun],
    make_instance: Callable[..., TaskInstance],
) -> Judge:
    """The verdict on `task=state` pairs in words; `m` is mapped."""

    def in_words(verdict: Verdict) -> str:
        match verdict:
            case Ready(instances=instances):
                return " ".join(["ready", *map(named, instances)])
            case Lost(instance=instance):
                return f"lost {named(instance)}"
            case Unlisted(task_id=task_id):
                return f"unlisted {task_id}"
            case Ended():
                return "ended"
            case Pending():
                return "pending"

    def named(instance: TaskInstance) -> str:
        index = f"[{instance.map_index}]" if instance.map_index >= 0 else ""
        return instance.task_id + index

    def judge(
        results: str, states: str, run: str | None = "running", listed: Sequence[str] = ()
    ) -> str:
        pairs = [pair.split("=") for pair in states.split()]
        instances = [make_instance(name, state or None) for name, state in pairs]
        snapshot = Snapshot(
            make_run(run) if run else None, {each.key: each for each in instances}, edition=1
        )
        plan = make_plan(
            *results.split(),
            mapped=("m", "n"),
            rules={"lenient": "all_done"},
            a="",
            b="",
            m="",
            n="",
            p="q lenient",
            q="a m",
            lenient="b",
        )
        return in_words(decide(plan, snapshot, listed))

    return judge


FINAL = ("success", "failed")
ALIVE = ("queued", "running", None)


@pytest.mark.parametrize("run", [*ALIVE, *FINAL])
@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        ("a=success", "ready a"),
        ("a=failed", "lost a"),
        ("a=upstream_failed", "lost a"),
        ("a=removed", "lost a"),
        ("a=skipped", "lost a"),
        ("a=success b=failed", "ready a"),
    ],
)
def test_a_final_state_of_the_result_task_decides(
    judge: Judge, states: str, verdict: str, run: str | None
) -> None:
    """Whatever the run and the other tasks do."""
    assert judge("a", states, run) == verdict


@pytest.mark.parametrize(
    "states",
    [
        "",
        "a=",
        "a=scheduled",
        "a=queued",
        "a=running",
        "a=up_for_retry",
        "a=up_for_reschedule",
        "a=deferred",
        "a=restarting",
        "a=a_state_of_tomorrow",
        "b=failed",
        "b=success",
    ],
)
def test_any_other_state_waits_for_the_run(judge: Judge, states: str) -> None:
    """A retry is no failure, and another task's failure is not the result's."""
    assert [judge("a", states, run) for run in ALIVE] == ["pending"] * 3
    assert [judge("a", states, run) for run in FINAL] == ["ended"] * 2


@pytest.mark.parametrize("states", ["", "a=success", "a=failed"])
def test_without_known_result_tasks_only_the_run_tells(judge: Judge, states: str) -> None:
    """No task decides then, whatever its state."""
    assert [judge("", states, run) for run in ALIVE] == ["pending"] * 3
    assert [judge("", states, run) for run in FINAL] == ["ended"] * 2


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        ("a=success b=success", "ready b a"),
        ("a=success b=skipped", "ready a"),
        ("a=skipped b=success", "ready b"),
        ("a=skipped b=skipped", "lost b"),
        ("a=success", "pending"),
        ("a=success b=running", "pending"),
        ("a=skipped b=running", "pending"),
        ("a=success b=failed", "lost b"),
        ("a=failed b=success", "lost a"),
        ("a=failed b=running", "lost a"),
        ("a=running b=failed", "lost b"),
        ("b=upstream_failed", "lost b"),
        ("a=failed", "lost a"),
        ("a=skipped b=removed", "lost b"),
    ],
)
def test_of_several_results_the_first_that_cannot_come_decides(
    judge: Judge, states: str, verdict: str
) -> None:
    """Without waiting for the others; skipped ones are left out while one succeeds."""
    assert judge("b a", states) == verdict


@pytest.mark.parametrize(
    ("states", "listed", "verdict"),
    [
        ("m=", False, "pending"),
        ("m[0]=success", False, "unlisted m"),
        ("m[0]=success", True, "ready m[0]"),
        ("m[0]=success m[1]=running", True, "pending"),
        ("m[0]=running m[1]=success", False, "pending"),
        (
            "m[1]=success m[0]=success m[10]=success m[9]=success",
            True,
            "ready m[0] m[1] m[9] m[10]",
        ),
        ("m[0]=success m[1]=failed", False, "lost m[1]"),
        ("m[0]=running m[1]=failed", False, "lost m[1]"),
        ("m[0]=upstream_failed", False, "lost m[0]"),
        ("m=upstream_failed", False, "lost m"),
        ("m=failed", False, "lost m"),
        ("m[0]=success m[1]=skipped", True, "ready m[0]"),
        ("m[0]=skipped m[1]=skipped", True, "lost m[0]"),
        ("m[0]=success m[1]=removed", True, "ready m[0]"),
        ("m[0]=removed m[1]=success", False, "unlisted m"),
        ("m[0]=running m[1]=removed", True, "pending"),
        ("m[0]=failed m[1]=removed", True, "lost m[0]"),
        ("m[0]=removed m[1]=removed", True, "lost m[0]"),
        ("m=removed m[0]=success m[1]=success", True, "ready m[0] m[1]"),
        ("m=skipped m[0]=running", True, "pending"),
    ],
)
def test_a_mapped_result_needs_every_instance(
    judge: Judge, states: str, listed: bool, verdict: str
) -> None:
    """Ready once all that there are have ended, in order; a surplus that was removed is none.

    It fails with its first failed instance, listed or not.
    """
    assert judge("m", states, listed=["m"] if listed else []) == verdict


def test_mapped_results_are_listed_one_after_the_other(judge: Judge) -> None:
    """Each mapped result is listed before it counts, and none before all that is known ended."""
    states = "m[0]=success n[0]=success a=success"

    assert judge("m n a", states) == "unlisted m"
    assert judge("m n a", states, listed=["m"]) == "unlisted n"
    assert judge("m n a", states, listed=["m", "n"]) == "ready m[0] n[0] a"
    assert judge("m n a", "m[0]=success") == "pending"


@pytest.mark.parametrize(
    ("results", "states", "verdict"),
    [
        ("a", "p=failed", "lost p"),
        ("a", "p=success q=failed", "lost q"),
        ("a", "p=success q=upstream_failed", "lost q"),
        ("a", "p[0]=success p[1]=failed", "lost p[1]"),
        ("a", "p=failed a=running", "pending"),
        ("a", "p=failed a=success", "ready a"),
        ("a", "p=failed a=skipped", "lost a"),
        ("a", "p=up_for_retry", "pending"),
        ("a", "p=skipped", "pending"),
        ("a", "p=removed", "pending"),
        ("a", "lenient=failed", "pending"),
        ("b", "p=failed", "pending"),
        ("b", "lenient=failed", "lost lenient"),
        ("b a", "p=failed", "lost p"),
        ("b a", "p=failed a=success", "pending"),
        ("b a", "p=failed a=success b=success", "ready b a"),
        ("b a", "p=failed b=failed", "lost b"),
        ("m", "p=failed", "lost p"),
        ("m", "q=failed m[0]=success m[1]=", "lost q"),
    ],
)
def test_a_failure_on_the_critical_path_decides(
    judge: Judge, results: str, states: str, verdict: str
) -> None:
    """As soon as it is final, for every result that has not come yet, and for no other."""
    assert judge(results, states) == verdict
