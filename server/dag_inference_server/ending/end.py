"""Ends one run, if it has not ended."""

from __future__ import annotations

from collections.abc import Callable

from dag_inference_server.airflow import AirflowApi, DagRun
from dag_inference_server.ending.notes import trace_in, traced


async def end_run(
    api: AirflowApi,
    dag_id: str,
    run_id: str,
    note: str,
    *,
    check: Callable[[], object] = lambda: None,
) -> DagRun:
    """End a run, and say why in its note; the run afterwards.

    One that has ended stays as it is. Airflow has no such condition itself: of a run that ends
    between the two requests, the state becomes `failed`, and its values stay.

    `check` is called just before each sending, for a last chance to raise.

    Raises:
        NotFound: Airflow has no such run.
        AirflowUnavailable: Airflow does not answer; the run may have been ended.
        AirflowDenied: The account may not end runs.
    """
    run = await api.run(dag_id, run_id)
    if run.is_final:
        return run
    note = traced(note, trace_in(run.note)) or note
    return await api.end_run(dag_id, run_id, note, check=check)
