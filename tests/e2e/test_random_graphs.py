"""Early answers, compared with what Airflow itself makes of many small random graphs.

The rule: never a failure where the result still comes, never a wait where it cannot come any
more. A graph that breaks it is shown as it is; `tests/e2e/dags/graphs.py` draws the same ones
again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from dag_inference import DagInferenceClient, DagInferenceError, Result, ResultSkipped, TaskFailed
from e2e.dags.graphs import BREAKING, RULES, Graph
from e2e.trial import FAILED, Trial, failed_before, is_decided, of_task, try_all
from e2e.ui import AirflowUi, States

# The first test waits for all of it.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def trials(client: DagInferenceClient, ui: AirflowUi) -> list[Trial]:
    return try_all(client, ui)


def test_no_failure_where_the_result_came(trials: list[Trial]) -> None:
    """A call that failed had a result task that failed, was skipped, or never ran."""

    def is_wrong(trial: Trial) -> bool:
        return isinstance(trial.answer, DagInferenceError) and _has_result(trial)

    _check(trials, is_wrong)


def test_no_result_where_none_came(trials: list[Trial], ui: AirflowUi) -> None:
    """A call that succeeded got what Airflow holds, and the result task succeeded."""

    def is_wrong(trial: Trial) -> bool:
        return isinstance(trial.answer, Result) and (
            not _has_result(trial) or trial.answer.value != _own_value(trial, ui)
        )

    _check(trials, is_wrong)


def test_no_wait_where_the_result_is_decided(trials: list[Trial]) -> None:
    """Once the result task's own instances decide, the answer comes while the run goes on."""

    def is_wrong(trial: Trial) -> bool:
        return is_decided(trial.graph.result, trial.before) and not trial.was_early

    _check(trials, is_wrong)


def test_no_wait_after_a_failure_on_the_critical_path(trials: list[Trial]) -> None:
    """A failed task with nothing but rules that it breaks up to the result ends the call."""

    def is_wrong(trial: Trial) -> bool:
        return _is_cut_off(trial.graph, trial.before) and not trial.was_early

    _check(trials, is_wrong)


def test_no_answer_before_the_result_is_decided(trials: list[Trial]) -> None:
    """What is still open when all else rests is left open: its call waits."""

    def is_wrong(trial: Trial) -> bool:
        return trial.was_early and not is_decided(trial.graph.result, trial.before)

    _check(trials, is_wrong)


def test_the_reason_is_the_true_one(trials: list[Trial]) -> None:
    """TASK_FAILED for what failed; RESULT_SKIPPED for what was skipped and nothing failed."""

    def is_wrong(trial: Trial) -> bool:
        states = of_task(trial.after, trial.graph.result)
        has_culprit = bool(failed_before(trial.graph, trial.after))
        match trial.answer:
            case TaskFailed():
                return not has_culprit and not FAILED & {*states}
            case ResultSkipped():
                return {*states} != {"skipped"}
            case Result():
                return False
        return True

    _check(trials, is_wrong)


def test_the_graphs_try_what_they_should(trials: list[Trial]) -> None:
    """Every trigger rule and kind of task occurs, and every way to be answered."""
    answered = Counter((type(trial.answer).__name__, trial.was_early) for trial in trials)
    for kind in ("Result", "TaskFailed", "ResultSkipped"):
        for was_early in (True, False):
            assert answered[kind, was_early] >= 2, (kind, was_early, answered)
    of_results = Counter(trial.graph.result.rule for trial in trials)
    assert min(of_results[rule] for rule in RULES) >= 2, of_results
    before = [trial.graph.nodes[name] for trial in trials for name in trial.graph.before_result()]
    assert sum(node.has_indexes for node in before) >= 10
    assert sum(node.is_setup for node in before) >= 8
    assert sum(node.tears_down is not None for node in before) >= 3
    results = [trial.graph.result for trial in trials]
    assert sum(node.is_mapped for node in results) >= 5
    assert sum(node.has_indexes and not node.is_mapped for node in results) >= 3
    assert sum(_is_cut_off(trial.graph, trial.before) for trial in trials) >= 4


def _check(trials: list[Trial], is_wrong: Callable[[Trial], bool]) -> None:
    wrong = [_show(trial) for trial in trials if is_wrong(trial)]
    assert not wrong, "\n\n".join(wrong)


def _show(trial: Trial) -> str:
    when = "before" if trial.was_early else "after"
    answer = trial.answer.value if isinstance(trial.answer, Result) else str(trial.answer)
    return (
        f"{trial.graph}\nheld: {dict(trial.before)}\nend: {dict(trial.after)}\n"
        f"answered {when} the held tasks ran: {answer}"
    )


def _has_result(trial: Trial) -> bool:
    states = {*of_task(trial.after, trial.graph.result)}
    return "success" in states and not states & FAILED


def _own_value(trial: Trial, ui: AirflowUi) -> object:
    result = trial.graph.result
    indexes = [
        index
        for (task_id, index), state in sorted(trial.after.items())
        if task_id == result.task_id and state == "success"
    ]
    run_id = trial.run["dag_run_id"]
    values = [ui.value(trial.graph.dag_id, run_id, result.task_id, index) for index in indexes]
    if result.has_indexes:
        return {"return_value": values}
    return values[0] if isinstance(values[0], dict) else {"return_value": values[0]}


def _is_cut_off(graph: Graph, states: States) -> bool:
    """Whether a failed task has a path to the result that has only rules that break.

    A task that was skipped before it looks at the failure passes none on, so it is none of
    the path: `all_success` is skipped by the first skipped upstream, whatever the others do.
    """

    def is_broken(name: str) -> bool:
        node = graph.nodes[name]
        if node.rule not in BREAKING or "skipped" in of_task(states, node):
            return False
        return any(
            "failed" in of_task(states, graph.nodes[before]) or is_broken(before)
            for before in node.upstream
        )

    return is_broken(graph.result.name)
