"""Airflow's REST API: async outside, threads inside, typed answers.

The only package that imports `airflow_client`.
"""

from dag_inference_server.airflow.answers import (
    DagDetails,
    DagRun,
    Task,
    TaskInstance,
)
from dag_inference_server.airflow.api import AirflowApi, NotFound, Refused, RunExists
from dag_inference_server.airflow.transport import Credentials, Transport

__all__ = [
    "AirflowApi",
    "Credentials",
    "DagDetails",
    "DagRun",
    "NotFound",
    "Refused",
    "RunExists",
    "Task",
    "TaskInstance",
    "Transport",
]
