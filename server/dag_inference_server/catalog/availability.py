"""Whether a DAG can be called at all."""

from __future__ import annotations

from dag_inference.errors import DagBroken, DagError, DagNotTriggerable, DagPaused, Subject
from dag_inference_server.airflow import Dag


def why_not(dag: Dag) -> DagError | None:
    """Why no run of a DAG can be made, or would start; `None` if it can."""
    subject = Subject(dag.dag_id)
    if dag.is_paused:
        return DagPaused(f"{dag.dag_id} is paused in Airflow", subject=subject)
    if dag.has_import_errors:
        return DagBroken(f"the file of {dag.dag_id} has import errors", subject=subject)
    if dag.is_stale:
        return DagBroken(f"Airflow no longer finds {dag.dag_id} in its file", subject=subject)
    if dag.allowed_run_types is not None and "manual" not in dag.allowed_run_types:
        return DagNotTriggerable(f"{dag.dag_id} does not allow manual runs", subject=subject)
    return None
