"""An Airflow that refuses the gateway, or does not answer as it should."""

from __future__ import annotations

from grpc import StatusCode

from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.cases import AS_LAST_SEEN, Case, of_run

ACCOUNT = {"airflow_username": None, "airflow_password": None}
AIRFLOW_DENIED = [
    Case(
        name=name,
        code=StatusCode.FAILED_PRECONDITION,
        reason="AIRFLOW_DENIED",
        before=before,
        settings=settings,
    )
    for name, settings, before in (
        ("wrong password", {"airflow_password": "guess"}, lambda airflow: None),
        ("no account", ACCOUNT, lambda airflow: None),
        ("unknown token", ACCOUNT | {"airflow_token": "guess"}, lambda airflow: None),
        (
            "expired token",
            ACCOUNT | {"airflow_token": "token-0"},
            lambda airflow: (airflow.accounts.issue(), airflow.accounts.expire()),
        ),
        (
            "may not read the DAG",
            {},
            lambda airflow: airflow.faults.add(faults.refused(403, "Forbidden"), Kind.DAG),
        ),
        (
            "may not trigger",
            {},
            lambda airflow: airflow.faults.add(faults.refused(403, "Forbidden"), Kind.TRIGGER),
        ),
    )
] + [
    Case(
        name="may not read the value",
        code=StatusCode.FAILED_PRECONDITION,
        reason="AIRFLOW_DENIED",
        dag=lambda: Dag("dag", script=[steps.finish("predict", 1), steps.end()]),
        before=lambda airflow: airflow.faults.add(faults.refused(403, "Forbidden"), Kind.VALUE),
        metadata=of_run(AS_LAST_SEEN),
    )
]


def unavailable(name: str, fault: faults.Fault, kind: Kind) -> Case:
    """An Airflow that does not answer as it should."""

    def before(airflow: FakeAirflow) -> None:
        airflow.accounts.expire()
        airflow.faults.add(fault, kind)

    return Case(
        name=name,
        code=StatusCode.UNAVAILABLE,
        reason="AIRFLOW_UNAVAILABLE",
        before=before,
        settings={"airflow_timeout": 0.1},
        retry=True,
    )


AIRFLOW_UNAVAILABLE = [
    unavailable("database error", faults.database_error(), Kind.DAG),
    unavailable("502 with a page", faults.html(502), Kind.DAG),
    unavailable("503", faults.refused(503), Kind.TASKS),
    unavailable("429", faults.refused(429, "Slow down"), Kind.DAG),
    unavailable("404 with a page", faults.html(404), Kind.DAG),
    unavailable("200 with a page", faults.html(200), Kind.DAG),
    unavailable("200 with nothing", faults.empty(), Kind.TASKS),
    unavailable("redirect", faults.redirected(), Kind.DAG),
    unavailable("half an answer", faults.truncated(), Kind.SOURCE),
    unavailable("broken off", faults.cut_off(), Kind.DAG),
    unavailable("closed", faults.dropped(), Kind.TRIGGER),
    unavailable("no answer", faults.hanging(), Kind.DAG),
    unavailable("login broken", faults.html(500), Kind.TOKEN),
    unavailable("login elsewhere", faults.html(200), Kind.TOKEN),
    unavailable("trigger broken", faults.database_error(), Kind.TRIGGER),
]
