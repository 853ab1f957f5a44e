"""The gateway alone, in front of an Airflow that exists: `serve` and `check`."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dag_inference import AirflowDenied, DagInferenceClient, DagNotAllowed, DagNotFound
from e2e.harness import Run, Standalone, serving

UNSEEN = """
from airflow.sdk import dag, task


@dag(schedule=None)
def never_seen_before():
    @task
    def double(number):
        return {"doubled": 2 * number}

    double(21)


never_seen_before()
"""


def health(target: str) -> int:
    with grpc.insecure_channel(target) as channel:
        request = health_pb2.HealthCheckRequest(service="dag_inference.v1.DagInference")
        stub = health_pb2_grpc.HealthStub(channel)
        answer: int = stub.Check(request, timeout=10).status  # type: ignore[attr-defined]
        return answer


def test_a_dag_that_nobody_has_seen(standalone: Standalone) -> None:
    """A file dropped into Airflow's DAG folder can be called, with nothing said to the gateway."""
    with serving(standalone.account()) as target, DagInferenceClient(target) as client:
        with pytest.raises(DagNotFound):
            client.invoke("never_seen_before", timeout=30)
        (standalone.dropped / "unseen.py").write_text(UNSEEN)
        give_up = time.monotonic() + 90
        while not (result := _invoked_if_there(client, "never_seen_before")):
            assert time.monotonic() < give_up
            time.sleep(1)
        assert result == {"doubled": 42}


def _invoked_if_there(client: DagInferenceClient, dag_id: str) -> dict[str, Any] | None:
    try:
        return client.invoke(dag_id, timeout=60)
    except DagNotFound:
        return None


def test_the_allow_list_is_decided_by_name(standalone: Standalone) -> None:
    """A DAG beyond `DAGS` is refused, whether or not it exists."""
    env = {**standalone.account(), "DAG_INFERENCE_DAGS": "leaf_*, price_order"}
    with serving(env) as target, DagInferenceClient(target) as client:
        assert client.invoke("leaf_value", timeout=90) == {"return_value": 42}
        for dag_id in ("no_result", "no_such_dag"):
            with pytest.raises(DagNotAllowed):
                client.invoke(dag_id, timeout=30)


def test_a_wrong_password(standalone: Standalone) -> None:
    """The gateway runs, reports NOT_SERVING, and tells callers that the account is refused."""
    env = {**standalone.account(), "DAG_INFERENCE_AIRFLOW_PASSWORD": "wrong"}
    with serving(env) as target, DagInferenceClient(target) as client:
        assert health(target) == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(AirflowDenied):
            client.invoke("leaf_value", timeout=30)


def test_an_account_that_may_only_look(standalone: Standalone) -> None:
    """An account without the right to trigger: AIRFLOW_DENIED, and no run."""
    with serving(standalone.account("viewer")) as target, DagInferenceClient(target) as client:
        with pytest.raises(AirflowDenied) as caught:
            client.invoke("leaf_value", timeout=30)
        assert caught.value.run_id is None


@pytest.mark.parametrize(
    ("arguments", "env", "says"),
    [
        (["--listen=0.0.0.0:0"], {}, "say --insecure"),
        (["--listen=0.0.0.0:0", "--insecure"], {}, "DAG_INFERENCE_DAGS"),
        (["--listen=nonsense"], {}, "LISTEN: must be HOST:PORT"),
        ([], {"DAG_INFERENCE_AIRFLOW_URL": "airflow:8080"}, "AIRFLOW_URL: must be an http"),
        ([], {"DAG_INFERENCE_AIRFLOW_USERNAME": "admin"}, "go together"),
        ([], {"DAG_INFERENCE_RUN_ID_PREFIX": "grpc-"}, "RUN_ID_PREFIX"),
        ([], {"DAG_INFERENCE_CONFIG": "/nowhere.toml"}, "which is no file"),
    ],
)
def test_settings_that_cannot_be(
    run: Run, standalone: Standalone, arguments: list[str], env: dict[str, str], says: str
) -> None:
    """A gateway that must not or cannot serve says why in a sentence, and ends with 2."""
    base = {k: v for k, v in standalone.account().items() if not k.startswith("DAG_INFERENCE")}
    ran = run("dag-inference-server", "serve", *arguments, env={**base, **env})
    assert ran.returncode == 2
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_address_that_is_taken(run: Run, standalone: Standalone) -> None:
    """Two gateways on one address: the second says so."""
    ran = run(
        "dag-inference-server", "serve", f"--listen={standalone.target}", env=standalone.account()
    )
    assert (ran.returncode, "taken" in ran.stderr) == (2, True)


def test_check_when_all_is_well(run: Run, standalone: Standalone) -> None:
    """`check` shows the settings, secrets masked, and that Airflow is as it should be."""
    ran = run("dag-inference-server", "check", env=standalone.account())
    assert ran.returncode == 0, ran.stderr
    assert "DAG_INFERENCE_AIRFLOW_PASSWORD=********" in ran.stdout
    assert standalone.password not in ran.stdout + ran.stderr
    assert "Airflow 3.3.2 answers" in ran.stdout
    assert "The account may trigger runs." in ran.stdout
    assert "The account may read XComs." in ran.stdout
    assert "The account may read task logs." in ran.stdout


@pytest.mark.parametrize(
    ("user", "env", "says"),
    [
        ("viewer", {}, "The account may not trigger runs"),
        ("admin", {"DAG_INFERENCE_AIRFLOW_PASSWORD": "wrong"}, "refuses the password of admin"),
        ("admin", {"DAG_INFERENCE_AIRFLOW_URL": "http://127.0.0.1:1"}, "does not answer"),
    ],
)
def test_check_when_something_is_wrong(
    run: Run, standalone: Standalone, user: str, env: dict[str, str], says: str
) -> None:
    """`check` says in a plain sentence what is wrong, and does not end with 0."""
    ran = run("dag-inference-server", "check", env={**standalone.account(user), **env})
    assert ran.returncode == 2
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr
