"""What the tests of the gateway's core are made of: tasks, runs, and what Airflow says."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from dag_inference_server.airflow import DagRun, Task, TaskInstance
from dag_inference_server.catalog.plan import Plan, ResultRule

HERE = Path(__file__).parent

# The machine may be busy, which is no failure.
settings.register_profile("calm", deadline=None, max_examples=50)
settings.load_profile("calm")

Truth = Mapping[str, Mapping[str, bool]]
"""By DAG and task of one file: whether the task returns the DAG's result."""

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Leave logging, which is the process's, as other tests want it."""
    root, before = logging.getLogger(), structlog.get_config()
    level, handlers = root.level, [*root.handlers]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    structlog.configure(**before)


@pytest.fixture(scope="session")
def load_with_airflow(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Mapping[str, str]], dict[str, Truth]]:
    """Load sources as Airflow does; the name of each source gives its truth."""

    def load(sources: Mapping[str, str]) -> dict[str, Truth]:
        home = tmp_path_factory.mktemp("airflow")
        (home / "dags").mkdir()
        stems = {f"file_{number:03}": name for number, name in enumerate(sources)}
        for stem, name in stems.items():
            (home / "dags" / f"{stem}.py").write_text(sources[name])
        done = subprocess.run(
            [sys.executable, HERE / "load_dags.py", home / "dags", home / "truth.json"],
            env={
                "PATH": os.environ["PATH"],
                "AIRFLOW_HOME": str(home),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:////{home}/airflow.db",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        truth = json.loads((home / "truth.json").read_text())
        return {name: truth[stem] for stem, name in stems.items()}

    return load


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    """Make a plan of `task id="downstream tasks"`, rules and mapped tasks aside."""

    def make(
        *results: str,
        rule: ResultRule = ResultRule.DECLARED,
        mapped: tuple[str, ...] = (),
        rules: Mapping[str, str] | None = None,
        **downstream: str,
    ) -> Plan:
        tasks = {
            task_id: Task(
                task_id=task_id,
                trigger_rule=(rules or {}).get(task_id, "all_success"),
                downstream_task_ids=tuple(after.split()),
                is_mapped=task_id in mapped,
            )
            for task_id, after in downstream.items()
        }
        return Plan(rule, results, tasks, 1)

    return make


@pytest.fixture
def make_run() -> Callable[..., DagRun]:
    """Make a run in a state."""

    def make(state: str, **fields: Any) -> DagRun:
        made = {"dag_id": "d", "dag_run_id": "r", "state": state, "run_after": NOON}
        return DagRun.model_validate({**made, **fields})

    return make


@pytest.fixture
def make_instance() -> Callable[..., TaskInstance]:
    """Make a task instance in a state; `task[2]` is a map index."""

    def make(name: str, state: str | None, **fields: Any) -> TaskInstance:
        task_id, _, index = name.rstrip("]").partition("[")
        made = {
            "id": f"{name}-1",
            "dag_id": "d",
            "dag_run_id": "r",
            "task_id": task_id,
            "map_index": int(index or -1),
            "state": state,
            "try_number": 1,
        }
        return TaskInstance.model_validate({**made, **fields})

    return make
