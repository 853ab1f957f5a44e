"""One call makes one run, whatever becomes of the trigger's answer."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.gateway import Gateway, running, settings_for
from integration.statuses import failure, failure_of_ours
from integration.waiting import eventually

DONE = [steps.finish("predict", {"a": 1}), steps.end()]


def call(**fields: Any) -> pb.InvokeRequest:
    """A request."""
    return pb.InvokeRequest(dag_id="dag", **fields)


@pytest.mark.parametrize("request_id", ["", "mine"])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(faults.lost(), id="lost"),
        pytest.param(faults.cut_off(), id="cut-off"),
        pytest.param(faults.truncated(), id="truncated"),
        pytest.param(faults.garbled(), id="garbled"),
    ],
)
async def test_lost_answer(
    airflow: FakeAirflow, gateway: Gateway, fault: faults.Fault, request_id: str
) -> None:
    """A trigger whose answer does not arrive is repeated, and makes no second run."""
    airflow.faults.add(fault, Kind.TRIGGER, times=2)
    dag = airflow.add(Dag("dag", script=DONE))

    response = await gateway.stub.Invoke(call(request_id=request_id), timeout=5)

    assert [run.run_id for run in dag.made] == [response.run.run_id]
    assert MessageToDict(response.result) == {"a": 1}


@pytest.mark.parametrize("request_id", ["", "mine"])
@pytest.mark.parametrize("fault", [faults.lost(), faults.hanging()], ids=["lost", "hanging"])
async def test_no_answer_at_all(
    airflow: FakeAirflow, gateway: Gateway, fault: faults.Fault, request_id: str
) -> None:
    """The error names the run that was asked for, which may exist, and says what to do.

    In words alone: a run id beside them means that it does.
    """
    await gateway.ready()
    airflow.faults.add(fault, Kind.TRIGGER)
    dag = airflow.add(Dag("dag"))

    failed = await failure(gateway.stub.Invoke(call(request_id=request_id), timeout=5))
    airflow.faults.clear()

    is_lost = bool(dag.made)
    assert failed.reason == ("AIRFLOW_UNAVAILABLE" if is_lost else "DEADLINE_EXCEEDED")
    assert failed.metadata == {"dag_id": "dag"}
    named = re.search(r"; run (grpc-[0-9a-f]{32}) may exist or not; (.*)", failed.message)
    assert named, failed.message
    if is_lost:
        assert [run.run_id for run in dag.made] == [named[1]]
    if request_id:
        assert named[2] == "repeat the call with its request_id to find out"
    else:
        assert "the same call again would make a second one" in named[2]


async def test_no_answer_and_then_a_refusal(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Airflow refuses the repeat of a trigger that it has taken: the run is named all the same."""
    await gateway.ready()
    airflow.faults.add(faults.refused(403, "Forbidden"), Kind.TRIGGER)
    airflow.faults.add(faults.lost(), Kind.TRIGGER, times=1)
    dag = airflow.add(Dag("dag"))

    failed = await failure(gateway.stub.Invoke(call(), timeout=5))

    (run,) = dag.made
    assert failed.reason == "AIRFLOW_DENIED"
    assert f"; run {run.run_id} may exist or not; " in failed.message
    assert failed.metadata == {"dag_id": "dag"}


async def test_a_refusal_alone(airflow: FakeAirflow, gateway: Gateway) -> None:
    """There is no run that may exist."""
    airflow.faults.add(faults.refused(403, "Forbidden"), Kind.TRIGGER)
    airflow.add(Dag("dag"))

    failed = await failure(gateway.stub.Invoke(call(), timeout=5))

    assert failed.reason == "AIRFLOW_DENIED"
    assert failed.message == "Airflow forbids the gateway's account: Forbidden"


async def test_no_answer_before_the_trigger(airflow: FakeAirflow, gateway: Gateway) -> None:
    """There is no run that may exist, and no word of one."""
    airflow.add(Dag("dag"))
    airflow.faults.add(faults.dropped(), Kind.DAG)

    failed = await failure(gateway.stub.Invoke(call(), timeout=5))

    assert failed.reason == "AIRFLOW_UNAVAILABLE"
    assert failed.message == "Airflow does not answer: the connection broke"


async def test_lost_answer_and_then_no_more(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Once Airflow has said that the run exists, every error has its id."""
    airflow.faults.add(faults.lost(), Kind.TRIGGER, times=1)
    airflow.faults.add(faults.database_error(), Kind.RUN)
    dag = airflow.add(Dag("dag"))

    failed = await failure(gateway.stub.Invoke(call(), timeout=2))

    assert len(dag.made) == 1
    assert failed.metadata["run_id"] == dag.made[0].run_id


async def test_repeated_call_attaches(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A second call with the same request_id gets the same answer from the same run."""
    dag = airflow.add(Dag("dag"))
    calls = [asyncio.create_task(_invoke(gateway, request_id="mine")) for _ in range(2)]
    await eventually(lambda: dag.made)
    await eventually(lambda: airflow.count(Kind.TRIGGER) == 2)

    dag.made[0].finish("predict", 7)
    dag.made[0].end("success")
    responses = [await answer for answer in calls]
    late = await _invoke(gateway, request_id="mine")

    assert len(dag.made) == 1
    assert {response.run.run_id for response in (*responses, late)} == {dag.made[0].run_id}
    assert responses[0].result == responses[1].result == late.result


async def test_two_replicas(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Many calls with one request_id at two gateways at once share one run."""
    dag = airflow.add(Dag("dag", script=DONE))
    async with running(settings_for(airflow)) as other:
        calls = [_invoke(replica, request_id="mine") for replica in (gateway, other) * 10]
        responses = await asyncio.gather(*calls)

    assert len(dag.made) == 1
    assert all(MessageToDict(response.result) == {"a": 1} for response in responses)


async def test_repeated_call_fails_the_same(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A call that failed fails the same way when it is repeated, without a new run."""
    dag = airflow.add(Dag("dag", script=[steps.fail("predict"), steps.end("failed")]))

    first, second = [
        await failure(gateway.stub.Invoke(call(request_id="mine"), timeout=5)) for _ in range(2)
    ]

    assert len(dag.made) == 1
    assert (first.code, first.reason, first.message) == (second.code, second.reason, second.message)
    assert first.metadata == second.metadata


async def test_deleted_under_a_repeated_call(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A run that is gone before the second call could look at it is named all the same."""
    dag = airflow.add(Dag("dag", script=DONE))
    await _invoke(gateway, request_id="mine")
    airflow.faults.add(faults.just_after(dag.made[0].delete), Kind.TRIGGER, times=1)

    failed = await failure(gateway.stub.Invoke(call(request_id="mine"), timeout=5))

    assert (failed.code, failed.reason) == (StatusCode.ABORTED, "RUN_DELETED")
    assert failed.metadata == {"dag_id": "dag", "run_id": dag.made[0].run_id}
    assert len(dag.made) == 1


async def test_same_id_other_conf(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A request_id that was used with another conf is refused; the earlier run is named."""
    dag = airflow.add(Dag("dag", script=DONE))
    await _invoke(gateway, request_id="mine", conf_json='{"n": 1, "m": 2}')

    failed = await failure(
        gateway.stub.Invoke(call(request_id="mine", conf_json='{"n": 2, "m": 2}'), timeout=5)
    )

    assert (failed.code, failed.reason) == (StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert failed.metadata["run_id"] == dag.made[0].run_id
    assert len(dag.made) == 1


async def test_same_conf_written_otherwise(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The order of keys, and 1.0 for 1, make no other conf."""
    dag = airflow.add(Dag("dag", script=DONE))
    await _invoke(gateway, request_id="mine", conf_json='{"n": 1, "m": {"x": 2.0}}')

    await _invoke(gateway, request_id="mine", conf_json='{"m": {"x": 2}, "n": 1.0}')

    assert len(dag.made) == 1


async def test_ids_of_calls_are_apart(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Calls without a request_id, and the same request_id for another DAG, make their own runs."""
    for name in ("dag", "other"):
        airflow.add(Dag(name, script=DONE))

    await _invoke(gateway)
    await _invoke(gateway)
    await _invoke(gateway, request_id="mine")
    await gateway.stub.Invoke(pb.InvokeRequest(dag_id="other", request_id="mine"), timeout=5)

    assert len({run.run_id for run in airflow.made}) == 4


async def _invoke(gateway: Gateway, **fields: Any) -> pb.InvokeResponse:
    return await gateway.stub.Invoke(call(**fields), timeout=10)


POLICY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.01s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


@pytest.mark.parametrize(
    ("request_id", "kind", "repeats"),
    [("", Kind.TRIGGER, False), ("mine", Kind.TRIGGER, True), ("", Kind.DAG, True)],
    ids=["without an id", "with an id", "before the trigger"],
)
async def test_a_channel_that_repeats_by_itself(
    airflow: FakeAirflow, gateway: Gateway, request_id: str, kind: Kind, repeats: bool
) -> None:
    """Whatever its policy says, it repeats no call that could make a second run."""
    await gateway.ready()
    airflow.add(Dag("dag"))
    airflow.faults.add(faults.dropped(), kind)
    target = f"127.0.0.1:{gateway.serving.port}"
    options = [("grpc.service_config", json.dumps(POLICY))]

    async with grpc.aio.insecure_channel(target, options) as channel:
        stub = replace(gateway, channel=channel).stub
        failed = await failure(stub.Invoke(call(request_id=request_id), timeout=60))

    assert failed.reason == "AIRFLOW_UNAVAILABLE"
    # Four tries are the gateway's own.
    assert (airflow.count(kind) > 4) == repeats


@pytest.mark.parametrize("happens", ["paused", "broken", "params", "stale"])
async def test_the_dag_can_no_longer_be_called(
    airflow: FakeAirflow, gateway: Gateway, happens: str
) -> None:
    """A repeated call still finds its run, which was made before; a new one makes none."""
    dag = airflow.add(Dag("dag", script=DONE))
    first = await gateway.stub.Invoke(call(request_id="mine", conf_json='{"n": 1}'), timeout=5)
    before = await gateway.stub.DescribeDag(pb.DescribeDagRequest(dag_id="dag"))
    _happen(dag, happens)
    await _until_it_is_known(gateway, before)

    again = await gateway.stub.Invoke(call(request_id="mine", conf_json='{"n": 1}'), timeout=5)
    other = await failure(
        gateway.stub.Invoke(call(request_id="mine", conf_json='{"n": 2}'), timeout=5)
    )
    fresh = await failure(
        gateway.stub.Invoke(call(request_id="yours", conf_json='{"n": 1}'), timeout=5)
    )

    assert again.run.run_id == first.run.run_id
    assert MessageToDict(again.result) == {"a": 1}
    assert other.reason == "REQUEST_ID_REUSED"
    assert other.metadata["run_id"] == first.run.run_id
    assert fresh.reason in {"DAG_PAUSED", "DAG_BROKEN", "CONF_INVALID"}
    assert "run_id" not in fresh.metadata
    assert len(dag.made) == 1


def _happen(dag: Dag, what: str) -> None:
    match what:
        case "paused":
            dag.is_paused = True
        case "broken":
            dag.has_import_errors = True
        case "stale":
            dag.is_stale = True
        case "params":
            dag.params = {"n": {"value": "one", "schema": {"type": "string"}}}


async def _until_it_is_known(gateway: Gateway, before: pb.DescribeDagResponse) -> None:
    """What the gateway knows of the DAG may be a second old."""
    asked = pb.DescribeDagRequest(dag_id="dag")
    async with asyncio.timeout(5):
        while (await gateway.stub.DescribeDag(asked)).dag == before.dag:  # noqa: ASYNC110 - by a call
            await asyncio.sleep(0.05)


async def test_broken_between_two_tries(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Airflow refuses the repeated trigger of a run that is there: the call goes on with it."""
    airflow.faults.add(
        faults.refused(400, "DAG with dag_id: 'dag' has import errors"), Kind.TRIGGER
    )
    airflow.faults.add(faults.lost(), Kind.TRIGGER, times=1)
    dag = airflow.add(Dag("dag", script=DONE))

    response = await gateway.stub.Invoke(call(), timeout=5)

    assert [run.run_id for run in dag.made] == [response.run.run_id]
    assert airflow.count(Kind.TRIGGER) == 2


async def test_another_calls_run_is_never_named(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Whose deadline passes while it is not known that the run has its conf gets no run id."""
    dag = airflow.add(Dag("dag"))
    first = gateway.stub.Invoke(call(request_id="mine", conf_json='{"n": 1}'), timeout=30)
    await eventually(lambda: dag.made)
    await airflow.polls(2)
    airflow.faults.add(faults.hanging(), Kind.RUN)

    failed = await failure_of_ours(
        lambda: gateway.stub.Invoke(call(request_id="mine", conf_json='{"n": 2}'), timeout=1)
    )
    first.cancel()

    assert failed.reason == "DEADLINE_EXCEEDED"
    assert "run_id" not in failed.metadata
