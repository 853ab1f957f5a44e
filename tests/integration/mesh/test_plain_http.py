"""Through Envoy, plain HTTP with JSON is enough to call a DAG."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fakes.airflow import Dag, FakeAirflow, steps
from integration.mesh.envoy import Envoy


def details(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The details of an error by their kinds."""
    return {detail.pop("@type").rpartition(".")[2]: detail for detail in body["details"]}


async def test_a_result(airflow: FakeAirflow, proxy: Envoy) -> None:
    """The conf goes as JSON, and the result comes as JSON, by the names of the proto."""
    dag = airflow.add(Dag("dag", script=[lambda run: run.finish("predict", run.conf)]))

    status, body = await proxy.post("Invoke", {"dag_id": "dag", "conf": {"n": [1, 2]}})

    (run,) = dag.made
    assert (status, body["result"]) == (200, {"n": [1, 2]})
    assert (body["result_kind"], body["run"]["run_id"]) == ("RESULT_KIND_OBJECT", run.run_id)


async def test_a_failed_task(airflow: FakeAirflow, proxy: Envoy) -> None:
    """Is a conflict, with the code, and the reason and the run among the details."""
    dag = airflow.add(Dag("dag", script=[steps.fail("predict"), steps.end("failed")]))

    status, body = await proxy.post("Invoke", {"dag_id": "dag"})

    info = details(body)["ErrorInfo"]
    assert (status, body["code"]) == (409, 10)
    assert "predict" in body["message"]
    assert (info["domain"], info["reason"]) == ("dag_inference", "TASK_FAILED")
    assert info["metadata"]["run_id"] == dag.made[0].run_id


async def test_a_request_that_is_wrong(airflow: FakeAirflow, proxy: Envoy) -> None:
    """Is a bad request: in the gateway's words where it is the gateway's to say."""
    airflow.add(Dag("dag"))

    status, body = await proxy.post("Invoke", {"dag_id": "a/b"})
    found = details(body)
    assert (status, found["ErrorInfo"]["reason"]) == (400, "REQUEST_INVALID")
    assert [bad["field"] for bad in found["BadRequest"]["field_violations"]] == ["dag_id"]
    url = f"http://{proxy.target}/dag_inference.v1.DagInference"
    is_json = {"Content-Type": "application/json"}
    async with proxy.session.post(f"{url}/Invoke", data='{"dag_id": ', headers=is_json) as answer:
        assert answer.status == 400
    async with proxy.session.post(f"{url}/Invoke", json={"dag": "dag"}) as answer:
        assert answer.status == 400
    async with proxy.session.post(f"{url}/Unknown", json={}) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("kind", ["text/plain", "text/plain;application/json", None])
@pytest.mark.parametrize("method", ["Invoke", "InvokeStream"])
async def test_what_any_web_page_may_send(
    airflow: FakeAirflow, proxy: Envoy, method: str, kind: str | None
) -> None:
    """Makes no run: browsers ask nobody whether they may send such a content type, or none."""
    dag = airflow.add(Dag("dag", script=[lambda run: run.finish("predict", 1)]))
    url = f"http://{proxy.target}/dag_inference.v1.DagInference/{method}"
    headers = {"Origin": "https://elsewhere.example"} | ({"Content-Type": kind} if kind else {})

    async with proxy.session.post(
        url, data=b'{"dag_id": "dag"}', headers=headers, skip_auto_headers=("Content-Type",)
    ) as answer:
        assert answer.status == 404
    assert not dag.made


async def test_a_deadline(airflow: FakeAirflow, proxy: Envoy) -> None:
    """Goes along as gRPC writes it in HTTP, and the gateway's word on it comes back."""
    dag = airflow.add(Dag("dag"))

    status, body = await proxy.post("Invoke", {"dag_id": "dag"}, **{"grpc-timeout": "1S"})

    info = details(body)["ErrorInfo"]
    assert (status, info["reason"]) == (504, "DEADLINE_EXCEEDED")
    assert info["metadata"]["run_id"] == dag.made[0].run_id


async def test_a_stream(airflow: FakeAirflow, proxy: Envoy) -> None:
    """Is a JSON object in each line, as it happens."""
    dag = airflow.add(Dag("dag"))
    url = f"http://{proxy.target}/dag_inference.v1.DagInference/InvokeStream"

    async with proxy.session.post(url, json={"dag_id": "dag"}) as answer:
        first = json.loads(await answer.content.readline())
        dag.made[0].finish("predict", 1)
        *_, last = [json.loads(line) async for line in answer.content]

    assert first["accepted"]["run"]["run_id"] == dag.made[0].run_id
    assert last["result"]["result"] == {"return_value": 1}


async def test_large_confs_and_results(airflow: FakeAirflow, proxy: Envoy) -> None:
    """Up to the gateway's limits, not Envoy's."""
    airflow.add(Dag("dag", script=[lambda run: run.finish("predict", run.conf)]))
    conf = {"text": "x" * 3_900_000}

    status, body = await proxy.post("Invoke", {"dag_id": "dag", "conf": conf})

    assert (status, body["result"]) == (200, conf)
