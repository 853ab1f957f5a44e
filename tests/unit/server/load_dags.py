"""Load DAG files as Airflow does, and write down which of their tasks give the result.

Run by `conftest.py` in a process and an `AIRFLOW_HOME` of its own, with the folder of the files
and the file for the answer as arguments.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path


def load(file: Path) -> dict[str, dict[str, bool]]:
    """By DAG and task of a file: whether the task returns the DAG's result."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=file, safe_mode=False)
    if bag.import_errors:
        raise SystemExit(f"{file.read_text()}\n{bag.import_errors}")
    return {
        dag.dag_id: {task.task_id: bool(task.returns_dag_result) for task in dag.tasks}
        for dag in bag.dags.values()
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    files = sorted(Path(sys.argv[1]).glob("*.py"))
    Path(sys.argv[2]).write_text(json.dumps({file.stem: load(file) for file in files}))
