"""Airflow's REST API: typed answers, by requests that `airflow_client` writes.

The only package that imports `airflow_client`.
"""

from dag_inference_server.airflow.answers import (
    Dag,
    DagDetails,
    DagRun,
    Event,
    LoggedException,
    LogLine,
    Param,
    Task,
    TaskInstance,
)
from dag_inference_server.airflow.api import AirflowApi
from dag_inference_server.airflow.bodies import TooLong
from dag_inference_server.airflow.breaker import Breaker
from dag_inference_server.airflow.credentials import Credentials, secret
from dag_inference_server.airflow.doubt import Doubt
from dag_inference_server.airflow.listings import Changes, Listings, RunFilter
from dag_inference_server.airflow.observer import LOGIN, RequestObserver
from dag_inference_server.airflow.retries import until_answered
from dag_inference_server.airflow.statuses import NotFound, Refused, RunExists
from dag_inference_server.airflow.transport import TRIALS, Transport
from dag_inference_server.airflow.unfinished import UnfinishedRuns
from dag_inference_server.airflow.values import RESULT_KEY, Budget, Values

__all__ = [
    "LOGIN",
    "RESULT_KEY",
    "TRIALS",
    "AirflowApi",
    "Breaker",
    "Budget",
    "Changes",
    "Credentials",
    "Dag",
    "DagDetails",
    "DagRun",
    "Doubt",
    "Event",
    "Listings",
    "LogLine",
    "LoggedException",
    "NotFound",
    "Param",
    "Refused",
    "RequestObserver",
    "RunExists",
    "RunFilter",
    "Task",
    "TaskInstance",
    "TooLong",
    "Transport",
    "UnfinishedRuns",
    "Values",
    "secret",
    "until_answered",
]
