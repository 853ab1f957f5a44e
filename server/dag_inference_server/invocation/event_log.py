"""What Airflow's event log has of a run: of this one, and not of another that had its id before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from dag_inference_server.airflow import AirflowApi, DagRun, Event
from dag_inference_server.invocation.interventions import (
    ENDS,
    KINDS,
    has_interventions,
    standing,
)

_TRIGGER = "trigger_dag_run"

_REPORTED_SINCE = (3, 2)
"""The Airflow whose log has what workers say of their tasks, by its source."""

_CLOCKS = timedelta(hours=1)
"""By how much the clocks of two API servers may differ. The log has an index by time, and is read
no further back than it takes."""


async def done_to(run: DagRun, api: AirflowApi) -> list[Event]:
    """What still counts of all that was done to a run since it was made, in its order.

    Raises:
        AirflowDenied: The account may not read the log, which not every account may.
    """
    read = partial(api.events, run.dag_id, run.run_id, after=run.run_after - _CLOCKS)

    async def standing_of(kinds: frozenset[str]) -> list[Event]:
        return standing(_since_made(await read(kinds | {_TRIGGER}), run.run_after))

    events = await standing_of(KINDS)
    if has_interventions(events) and await api.is_at_least(*_REPORTED_SINCE):
        return await standing_of(KINDS | ENDS)
    return events


def _since_made(events: Sequence[Event], run_after: datetime) -> list[Event]:
    """Without what was done to a run of the same id that was deleted before.

    The log outlives a run and does not always tell of its end, but every trigger is in it, also
    one that was repeated and refused. That which made the run is known by its stamp: one API server
    wrote it and, a moment later in the same request, the run's `run_after`
    (`airflow/api_fastapi/logging/decorators.py`, `TriggerDAGRunPostBody`).
    """
    made = min(
        (number for number, event in enumerate(events) if event.event == _TRIGGER),
        key=lambda number: abs(events[number].when - run_after),
        default=0,
    )
    return [*events[made:]]
