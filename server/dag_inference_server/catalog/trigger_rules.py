"""What Airflow's trigger rules mean for a failure (`airflow/ti_deps/deps/trigger_rule_dep.py`).

The same from 3.1 to 3.3.
"""

from __future__ import annotations

from dag_inference_server.airflow import Task

TEARDOWN = "all_done_setup_success"
"""Airflow's API does not tell teardowns, but `as_teardown` gives them this rule."""

_STRICT = frozenset({"all_success", "none_failed", "none_failed_min_one_success"})


def is_strict(task: Task) -> bool:
    """Whether one failure just before it keeps a task from running, whatever the others do.

    A clean-up with `all_done` or an alarm with `one_failed` succeeds also when what matters
    has failed; a teardown as long as one of its setups has not.
    """
    return task.trigger_rule in _STRICT


def needs_success(task: Task) -> bool:
    """Whether also a skipped task just before it keeps a task from running."""
    return task.trigger_rule == "all_success"
