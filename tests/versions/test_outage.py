"""An API server that is killed: the short form of what `make soak` does for half a minute."""

from __future__ import annotations

from e2e.outage import outage
from versions.older import OlderAirflow


async def test_none_is_lost_and_none_doubled(airflow: OlderAirflow) -> None:
    """Calls in flight outlive it: each has its own run's result, and there is one run for each."""
    await outage(airflow.api_server, airflow.ui, airflow.settings, "echoes", calls=20, seconds=5)
