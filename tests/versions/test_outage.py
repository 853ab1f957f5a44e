"""Parts of Airflow that are killed: the short form of what `make soak` does for half a minute."""

from __future__ import annotations

import pytest

from e2e.outage import Database, Process, outage
from versions.released import NEWEST, OLDER, ReleasedAirflow

DAG = "echoes"


@pytest.mark.parametrize("airflow", [*OLDER, NEWEST], indirect=True)
async def test_the_api_server(airflow: ReleasedAirflow) -> None:
    """Calls in flight outlive it, and later ones are told so: each has its own run's result."""
    server = Process(airflow.running.components, "api-server")
    await outage(server, airflow.ui, airflow.settings, DAG, calls=10, seconds=5)


@pytest.mark.parametrize("airflow", [NEWEST], indirect=True)
async def test_the_database(airflow: ReleasedAirflow) -> None:
    """The same, though Airflow answers all the while: that its database is away."""
    database = Database(airflow.state, airflow.running.components)
    await outage(database, airflow.ui, airflow.settings, DAG, calls=10, seconds=5)


@pytest.mark.parametrize("airflow", [NEWEST], indirect=True)
async def test_the_scheduler(airflow: ReleasedAirflow) -> None:
    """Runs are taken in and do not start until it is back, and no call is refused."""
    scheduler = Process(airflow.running.components, "scheduler")
    await outage(scheduler, airflow.ui, airflow.settings, DAG, calls=10, seconds=4, refuses=False)
