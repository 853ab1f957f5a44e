"""The name of a request to Airflow, in metrics: without what it is about, so that there are few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow_client.client import Configuration, DagRunApi, VersionApi, XComApi

from dag_inference_server.airflow.requests import Request, Writer


def asks(api: Any, method: str, *arguments: Any) -> Callable[[Writer], Request]:
    """A request of Airflow's client."""

    def ask(writer: Writer) -> Request:
        operation: Callable[..., Request] = getattr(
            api(writer), f"{method}_without_preload_content"
        )
        return operation(*arguments)

    return ask


@pytest.mark.parametrize("host", ["http://a", "https://a/airflow/dags"])
@pytest.mark.parametrize(
    ("ask", "path", "operation"),
    [
        (asks(VersionApi, "get_version"), "version", "GET /version"),
        (asks(DagRunApi, "get_dag_run", "d", "r"), "dags/d/dagRuns/r", "GET /dags/{}/dagRuns/{}"),
        (asks(DagRunApi, "get_dag_runs", "~"), "dags/~/dagRuns", "GET /dags/~/dagRuns"),
        (
            asks(DagRunApi, "get_dag_run", "dagRuns", "~x/{dag_id}"),
            "dags/dagRuns/dagRuns/~x%2F%7Bdag_id%7D",
            "GET /dags/{}/dagRuns/{}",
        ),
        (
            asks(XComApi, "get_xcom_entry", "d", "t", "r", "k"),
            "dags/d/dagRuns/r/taskInstances/t/xcomEntries/k",
            "GET /dags/{}/dagRuns/{}/taskInstances/{}/xcomEntries/{}",
        ),
    ],
)
def test_a_request_is_named_without_ids(
    host: str, ask: Callable[[Writer], Request], path: str, operation: str
) -> None:
    """By Airflow's own path; that it is asked about all is said, and where it answers is not."""
    request = ask(Writer(Configuration(host=host)))

    assert (request.operation, request.method) == (operation, "GET")
    assert request.url.partition("?")[0] == f"{host}/api/v2/{path}"
