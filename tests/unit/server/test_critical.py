"""Which failure keeps a result from coming, whatever else the run still does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dag_inference_server.airflow import TaskInstance
from dag_inference_server.catalog.plan import Plan
from dag_inference_server.invocation.critical import critical_failure
from dag_inference_server.watcher import Snapshot

STRICT = ("all_success", "none_failed", "none_failed_min_one_success")
LENIENT = (
    "all_done",
    "all_done_min_one_success",
    "all_done_setup_success",
    "all_failed",
    "all_skipped",
    "always",
    "none_skipped",
    "one_done",
    "one_failed",
    "one_success",
    "a_rule_of_tomorrow",
)

Critical = Callable[..., str | None]


@pytest.fixture
def critical(
    make_plan: Callable[..., Plan], make_instance: Callable[..., TaskInstance]
) -> Critical:
    """The critical failure of `task=state` pairs, in a graph of `a>b` arrows."""

    def critical(arrows: str, states: str, result: str = "r", **rules: str) -> str | None:
        downstream: dict[str, list[str]] = {}
        for arrow in arrows.split():
            start, _, end = arrow.partition(">")
            downstream.setdefault(start, []).append(end)
            downstream.setdefault(end, [])
        plan = make_plan(rules=rules, **{name: " ".join(ends) for name, ends in downstream.items()})
        pairs = [pair.split("=") for pair in states.split()]
        instances = [make_instance(name, state or None) for name, state in pairs]
        snapshot = Snapshot(None, {each.key: each for each in instances}, edition=1)
        found = critical_failure(plan, snapshot, [result])
        return found.task_id if found else None

    return critical


@pytest.mark.parametrize("state", ["failed", "upstream_failed"])
@pytest.mark.parametrize("rule", [*STRICT, *LENIENT])
def test_only_a_strict_rule_is_broken_by_one_failure(
    critical: Critical, rule: str, state: str
) -> None:
    """Of the result itself, and of a task on the way; that of the failed task does not count."""
    found = "a" if rule in STRICT else None

    assert critical("a>r b>r", f"a={state}", r=rule) == found
    assert critical("a>t t>r", f"a={state}", t=rule) == found
    assert critical("a>r", f"a={state}", a=rule) == "a"


@pytest.mark.parametrize("state", ["", "running", "up_for_retry", "success", "skipped", "removed"])
def test_only_a_final_failure_counts(critical: Critical, state: str) -> None:
    """A retry may go well, and a skipped task is the author's branch."""
    assert critical("a>r", f"a={state}") is None


@pytest.mark.parametrize(
    ("arrows", "found"),
    [
        ("a>t t>r", "a"),
        ("a>t t>u u>r", "a"),
        ("a>lenient lenient>r a>t t>r", "a"),
        ("a>lenient lenient>r", None),
        ("a>lenient lenient>t t>r", None),
        ("r>a", None),
        ("a>t b>r", None),
        ("a>gone", None),
    ],
)
def test_one_path_is_enough(critical: Critical, arrows: str, found: str | None) -> None:
    """If every task on it is stopped by the one before; never backwards."""
    assert critical(f"{arrows} x>r", "a=failed", lenient="all_done") == found


@pytest.mark.parametrize(
    ("rules", "states", "found"),
    [
        pytest.param({}, "t=skipped", "a", id="a skip breaks all_success, too"),
        pytest.param({"r": "none_failed"}, "t=skipped", None, id="and is good for none_failed"),
        pytest.param({"r": "none_failed"}, "", None, id="b may skip it before airflow looks"),
        pytest.param({"r": "none_failed"}, "b=running", None, id="as it may while it runs"),
        pytest.param({"r": "none_failed"}, "b=success", "a", id="b skips nothing any more"),
        pytest.param({"r": "none_failed"}, "b=skipped", None, id="b was skipped, and so may t be"),
        pytest.param(
            {"r": "none_failed"}, "t=upstream_failed", None, id="a branch skips even what failed so"
        ),
        pytest.param(
            {"r": "none_failed"}, "t=upstream_failed b=success", "t", id="unless it ended"
        ),
        pytest.param({"t": "none_failed"}, "", "a", id="the result is stopped all the same"),
    ],
)
def test_a_stopped_task_may_have_been_skipped_first(
    critical: Critical, rules: dict[str, str], states: str, found: str | None
) -> None:
    """By a branch or another task before it; then it passes the failure on to nobody."""
    assert critical("a>t b>t t>r x>r", f"a=failed {states}", **rules) == found


@pytest.mark.parametrize("rule", STRICT)
def test_a_task_with_nothing_else_before_it_cannot_be_skipped(
    critical: Critical, rule: str
) -> None:
    """Its failure is certain, and so is that of the next."""
    assert critical("a>t t>u u>r x>r", "a=failed", t=rule, u=rule, r=rule) == "a"


@pytest.mark.parametrize(
    ("state", "found"), [("success", "a"), ("skipped", None), ("running", None), ("", None)]
)
def test_what_comes_before_the_failed_task_may_skip_all_after_it(
    critical: Critical, state: str, found: str | None
) -> None:
    """A setup that was skipped skips what it is for; a short circuit, all that comes after it."""
    assert (
        critical("s>a a>t t>r x>r", f"a=failed s={state}", a="all_done", r="none_failed") == found
    )


@pytest.mark.parametrize("state", ["scheduled", "queued", "running", "success", "up_for_retry"])
def test_what_was_let_through_is_stopped_no_more(critical: Critical, state: str) -> None:
    """The failed task was cleared when the one after it had begun."""
    assert critical("a>t t>r", f"a=failed t={state}") is None


def test_one_open_map_index_is_stopped(critical: Critical) -> None:
    """However many others of the task have succeeded."""
    assert critical("m>t t>r", "m[0]=success m[1]=failed t[0]=success t[1]=") == "m"
    assert critical("m>t t>r", "m[0]=success m[1]=failed t[0]=success t[1]=success") is None


def test_a_ladder_of_diamonds_is_walked_once(critical: Critical) -> None:
    """Forty diamonds in a row have 2^40 paths; asking whether one ends elsewhere is quick."""
    ladder = " ".join(f"s{n}>l{n} s{n}>r{n} l{n}>s{n + 1} r{n}>s{n + 1}" for n in range(40))

    assert critical(ladder, "s0=failed", "elsewhere") is None
    assert critical(ladder, "s0=failed", "s40") == "s0"
