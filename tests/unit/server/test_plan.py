"""Which tasks give a DAG's result when only its structure tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from dag_inference_server.catalog.plan import Plan, ResultRule, by_structure
from dag_inference_server.catalog.trigger_rules import TEARDOWN

MakePlan = Callable[..., Plan]


@pytest.mark.parametrize(
    ("downstream", "rules", "leaf"),
    [
        pytest.param({"a": ""}, {}, "a", id="the only task"),
        pytest.param({"a": "b", "b": ""}, {}, "b", id="the last of a chain"),
        pytest.param({"a": "b c", "b": "d", "c": "d", "d": ""}, {}, "d", id="where a diamond ends"),
        pytest.param({"a": "", "b": ""}, {}, None, id="two leaves"),
        pytest.param({}, {}, None, id="no tasks"),
        pytest.param(
            {"a": "t", "t": ""}, {"t": TEARDOWN}, "a", id="the only one but for a teardown"
        ),
        pytest.param(
            {"a": "t u", "t": "u", "u": ""},
            {"t": TEARDOWN, "u": TEARDOWN},
            "a",
            id="with two teardowns behind it",
        ),
        pytest.param(
            {"a": "b t", "b": "t", "t": ""}, {"t": TEARDOWN}, "b", id="a teardown for both"
        ),
        pytest.param({"a": "", "t": ""}, {"t": TEARDOWN}, "a", id="beside a teardown on its own"),
        pytest.param({"t": ""}, {"t": TEARDOWN}, None, id="nothing but a teardown"),
        pytest.param(
            {"a": "t", "t": "b", "b": ""}, {"t": TEARDOWN}, None, id="a task after a teardown"
        ),
        pytest.param({"a": "gone"}, {}, None, id="a task that Airflow does not list"),
        pytest.param({"a": "b", "b": ""}, {"b": "none_failed"}, "b", id="none_failed"),
        pytest.param(
            {"a": "b", "b": ""},
            {"b": "none_failed_min_one_success"},
            "b",
            id="none_failed_min_one_success",
        ),
        pytest.param({"a": "b", "b": ""}, {"a": "all_done"}, "b", id="only the leaf's rule counts"),
        *(
            pytest.param({"a": "b", "b": ""}, {"b": rule}, None, id=rule)
            for rule in (
                "all_done",
                "all_done_min_one_success",
                "all_failed",
                "always",
                "none_skipped",
                "one_done",
                "one_failed",
                "one_success",
                "a_rule_of_tomorrow",
            )
        ),
    ],
)
def test_the_only_leaf_gives_the_result(
    make_plan: MakePlan, downstream: Mapping[str, str], rules: Mapping[str, str], leaf: str | None
) -> None:
    """Teardowns aside, a single leaf that succeeds only if all went well is the result."""
    tasks = make_plan(rules=rules, **downstream).tasks

    plan = by_structure(tasks, frozenset(), 3)

    if leaf is None:
        assert plan == Plan(ResultRule.NONE, (), tasks, 3)
    else:
        assert plan == Plan(ResultRule.LEAF, (leaf,), tasks, 3)


def test_what_is_declared_comes_before_the_leaf(make_plan: MakePlan) -> None:
    """A declaration wins, in an order that does not change from call to call."""
    tasks = make_plan(c="", b="c", a="b").tasks

    plan = by_structure(tasks, frozenset({"b", "a"}), 1)

    assert plan == Plan(ResultRule.DECLARED, ("a", "b"), tasks, 1)


def test_an_unknown_declaration_leaves_it_to_the_run(make_plan: MakePlan) -> None:
    """If the file cannot be understood, the leaf may be wrong: the run's end tells."""
    tasks = make_plan(a="").tasks

    assert by_structure(tasks, None, 1) == Plan(ResultRule.RUN_END, (), tasks, 1)


@pytest.mark.parametrize(
    ("task_id", "result_id", "leads"),
    [
        ("start", "left", True),
        ("start", "end", True),
        ("left", "end", True),
        ("left", "right", False),
        ("end", "start", False),
        ("start", "start", False),
        ("alone", "end", False),
        ("unheard of", "end", False),
        ("end", "gone", True),
    ],
)
def test_a_task_leads_to_what_runs_after_it(
    make_plan: MakePlan, task_id: str, result_id: str, leads: bool
) -> None:
    """Through any number of tasks, along every path, and only forwards."""
    diamond = make_plan(start="left right", left="end", right="end", end="gone", alone="")

    assert diamond.leads_to(task_id, result_id) is leads


def test_a_ladder_of_diamonds_is_walked_once(make_plan: MakePlan) -> None:
    """Forty diamonds in a row have 2^40 paths; asking whether one ends elsewhere is quick."""
    rungs = {f"s{n}": f"l{n} r{n}" for n in range(40)}
    rails = {f"{side}{n}": f"s{n + 1}" for side in "lr" for n in range(40)}

    assert not make_plan(**rungs, **rails).leads_to("s0", "elsewhere")
    assert make_plan(**rungs, **rails).leads_to("s0", "s40")


@pytest.mark.parametrize(
    ("rule", "stays"),
    [
        (ResultRule.REQUEST, True),
        (ResultRule.TAG, True),
        (ResultRule.SETTING, True),
        (ResultRule.DECLARED, False),
        (ResultRule.LEAF, False),
        (ResultRule.NONE, False),
        (ResultRule.RUN_END, False),
    ],
)
def test_a_plan_for_another_version_keeps_only_names(
    make_plan: MakePlan, rule: ResultRule, stays: bool
) -> None:
    """Result tasks that somebody named hold for any version; what was read, for its own."""
    plan = make_plan("a", rule=rule, a="")

    assert plan.for_version(1) == plan
    assert plan.for_version(2).rule is (rule if stays else ResultRule.RUN_END)
    assert plan.for_version(2).task_ids == (("a",) if stays else ())
    assert plan.for_version(2).is_outdated


def test_a_run_that_goes_on_with_another_version_keeps_its_results(make_plan: MakePlan) -> None:
    """They were told to the caller; the paths that led to them count no longer."""
    plan = make_plan("b", a="b", b="")

    moved = plan.without_structure(2)

    assert (moved.rule, moved.task_ids, moved.version) == (plan.rule, ("b",), 2)
    assert plan.leads_to("a", "b")
    assert not moved.leads_to("a", "b")


def test_a_teardown_is_known_by_its_trigger_rule(make_plan: MakePlan) -> None:
    """Airflow's API tells teardowns by nothing else."""
    plan = make_plan(rules={"t": TEARDOWN, "c": "all_done"}, a="t c", t="", c="")

    assert [plan.is_teardown(task) for task in ("a", "t", "c", "gone")] == [
        False,
        True,
        *[False] * 2,
    ]


def test_a_task_that_is_not_listed_is_not_mapped(make_plan: MakePlan) -> None:
    """Only what Airflow says is mapped is."""
    plan = make_plan(mapped=("m",), m="a", a="")

    assert [plan.is_mapped(task) for task in ("m", "a", "gone")] == [True, False, False]
