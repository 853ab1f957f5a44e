"""An API server that is killed for half a minute under two hundred calls."""

from __future__ import annotations

import pytest

from dag_inference_server.standalone.airflow import USER, EmbeddedAirflow
from e2e.harness import SHELL_ENVIRONMENT
from e2e.outage import Process, outage
from e2e.ui import AirflowUi

DAG = "echoes"


@pytest.mark.timeout(1800)
async def test_none_is_lost_and_none_doubled(airflow: EmbeddedAirflow) -> None:
    """Every call is answered with its own run's result, and there is one run for each."""
    settings = {
        **SHELL_ENVIRONMENT,
        "DAG_INFERENCE_AIRFLOW_URL": airflow.url,
        "DAG_INFERENCE_AIRFLOW_USERNAME": USER,
        "DAG_INFERENCE_AIRFLOW_PASSWORD": airflow.password,
    }
    ui = AirflowUi(airflow.url, USER, airflow.password)
    server = Process(airflow.components, "api-server")
    await outage(server, ui, settings, DAG, calls=200, seconds=30)
