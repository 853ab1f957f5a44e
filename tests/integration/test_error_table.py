"""Every reason that the gateway gives, how it comes about, and what the caller is told."""

from __future__ import annotations

import re
from typing import Any

import pytest
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, steps
from integration.cases import AS_LAST_SEEN, RUN, Case
from integration.error_rows.of_airflow import AIRFLOW_DENIED, AIRFLOW_UNAVAILABLE
from integration.error_rows.of_dags import DAG_ERRORS
from integration.error_rows.of_exceptions import EXCEPTIONS
from integration.error_rows.of_gateway import GATEWAY_ERRORS
from integration.error_rows.of_requests import REQUEST_INVALID, RUN_TIMEOUTS
from integration.error_rows.of_runs import NO_RUN_OF_THE_CALL, RUN_ERRORS
from integration.gateway import Gateway
from integration.statuses import failure
from integration.waiting import eventually

TABLE = [
    *REQUEST_INVALID,
    *RUN_TIMEOUTS,
    *DAG_ERRORS,
    *RUN_ERRORS,
    *NO_RUN_OF_THE_CALL,
    *EXCEPTIONS,
    *AIRFLOW_DENIED,
    *AIRFLOW_UNAVAILABLE,
    *GATEWAY_ERRORS,
]


@pytest.fixture
def settings(case: Case) -> dict[str, Any]:
    """The case's own."""
    return {"default_deadline": 5, **case.settings}


OF_PYTHON = re.compile(r"Traceback|Error\b|Exception|object at 0x|sys\.|<class")

OF_LONG_NAME = type("ä" * 300, (Exception,), {})

LONGEST = [
    Case(
        name="in letters that take twelve bytes each",
        code=StatusCode.INVALID_ARGUMENT,
        reason="CONF_INVALID",
        dag=lambda: Dag(
            "dag", refuse=lambda _: f"Invalid input for param {'😀' * 300}: {'😀' * 900}"
        ),
    ),
    Case(
        name="in letters that take twelve bytes each",
        code=StatusCode.ABORTED,
        reason="TASK_FAILED",
        dag=lambda: Dag("dag", script=[steps.fail("predict", raises=OF_LONG_NAME("😀" * 900))]),
    ),
]


def test_every_reason_is_in_the_table() -> None:
    """None that the proto names is left out, and none is there that it does not name."""
    named = {name.removeprefix("ERROR_REASON_") for name, _ in pb.ErrorReason.items()}
    assert {case.reason for case in TABLE} == named - {"UNSPECIFIED"}


def _ask(gateway: Gateway, case: Case) -> Any:
    if isinstance(case.request, pb.WaitRequest):
        return gateway.stub.Wait(case.request)
    return gateway.stub.Invoke(case.request)


@pytest.mark.parametrize("case", TABLE, ids=str)
async def test_error(
    airflow: FakeAirflow, gateway: Gateway, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that fails says why, in one ErrorInfo, and about which run if there is one."""
    if case.reason == "AIRFLOW_UNAVAILABLE":
        # Which has let the gateway in before.
        await gateway.ready()
    dag = airflow.add(case.dag())
    case.before(airflow)
    if case.bug:
        monkeypatch.setattr("dag_inference_server.invocation.wait.decide", None)
    if case.there:
        dag.trigger(case.there, {"not": "of this call"})
    parked = [_ask(gateway, case) for _ in range(case.parked)]
    await eventually(lambda: len(dag.made) == case.parked + bool(case.there))

    call = _ask(gateway, case)
    if case.gateway_ends:
        await eventually(lambda: dag.made)
        await airflow.polls(2)
        gateway.end()
    failed = await failure(call)

    assert (failed.code, failed.reason) == (case.code, case.reason), failed.message
    assert failed.info.domain == "dag_inference"
    assert failed.violations == [*case.violations]
    assert failed.resource == case.resource
    assert (failed.retry_after is not None) == case.retry
    assert ("grpc-retry-pushback-ms" in failed.trailers) == case.retry
    assert (failed.status.code, failed.status.message) == (failed.code.value[0], failed.message)
    assert len(failed.encoded) < 4096
    assert failed.message.endswith(case.says)
    assert not OF_PYTHON.search(failed.message.removesuffix(case.says))

    runs = {run.run_id: RUN for run in airflow.made}
    told = {key: runs.get(value, value) for key, value in failed.metadata.items()}
    if case.metadata.get("run_state") == AS_LAST_SEEN:
        assert told.get("run_state") in {"queued", "running", "success"}
        told["run_state"] = AS_LAST_SEEN
    assert told == case.metadata
    assert len(runs) - case.parked == (case.metadata.get("run_id") == RUN)
    assert all(call.cancel() for call in parked)
    assert case.asks or not any(asked.is_of_a_dag for asked in airflow.asked)


@pytest.mark.parametrize("case", LONGEST, ids=str)
async def test_no_status_is_too_long(airflow: FakeAirflow, gateway: Gateway, case: Case) -> None:
    """Texts are cut so that every client takes the status, whatever letters they are of."""
    airflow.add(case.dag())

    failures = [await failure(_ask(gateway, case)) for _ in range(60)]

    assert {failed.code for failed in failures} == {case.code}
