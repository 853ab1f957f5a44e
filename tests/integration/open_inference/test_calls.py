"""A DAG is a model: the Open Inference Protocol on the same port."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import grpc

from dag_inference_server.inference import open_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, steps
from integration.early import run_id_of, started
from integration.gateway import Gateway
from integration.inference import echo, infer, kinds, stub, tensor, values
from integration.scraping import scrape
from integration.statuses import failure


async def test_a_batch_is_one_run(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Tensors become a conf, the result becomes tensors, and the run's id comes twice."""
    dag = airflow.add(echo())
    rows = tensor("rows", "FP32", [2, 3], fp32_contents=[1, 2, 3, 4, 5, 6.5])

    call = stub(gateway).ModelInfer(infer(rows, id="mine"), timeout=10)
    response = await call

    (run,) = dag.made
    assert run.conf == {"rows": [[1, 2, 3], [4, 5, 6.5]]}
    assert (response.model_name, response.model_version, response.id) == ("echo", "1", "mine")
    assert values(response) == run.conf
    assert response.parameters["dag_run_id"].string_param == run.run_id
    metadata: Mapping[str, Any] = dict(await call.initial_metadata())
    assert metadata["dag-run-id"] == run.run_id


async def test_the_run_id_comes_before_the_result(airflow: FakeAirflow, gateway: Gateway) -> None:
    """As soon as the run exists; and a caller that goes away leaves it as it is."""
    dag = airflow.add(Dag("dag"))
    call = started(gateway.channel, infer(dag_id="dag"), timeout=60)

    run_id = await run_id_of(call)
    assert [run.run_id for run in dag.made] == [run_id]
    call.cancel()

    await airflow.silence()
    assert airflow.count(Kind.PATCH_RUN) == 0


async def test_integers_stay_exact(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Beyond 2^53, on both ways."""
    dag = airflow.add(echo())
    large = [2**63 - 1, -(2**63), 2**53 + 1]

    response = await stub(gateway).ModelInfer(
        infer(
            tensor("signed", "INT64", [3], int64_contents=large),
            tensor("unsigned", "UINT64", [2], uint64_contents=[2**64 - 1, 1]),
        ),
        timeout=10,
    )

    assert dag.made[0].conf == {"signed": large, "unsigned": [2**64 - 1, 1]}
    assert values(response) == dag.made[0].conf
    assert kinds(response) == {"signed": ("INT64", [3]), "unsigned": ("UINT64", [2])}


async def test_a_large_tensor(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Of many thousand elements, both ways, and as exact as a small one."""
    airflow.add(echo())
    numbers = [index / 7 for index in range(40_000)]
    sent = tensor("x", "FP64", [200, 200])
    raw = struct.pack("<40000d", *numbers)

    response = await stub(gateway).ModelInfer(infer(sent, raw_input_contents=[raw]), timeout=20)

    assert kinds(response) == {"x": ("FP64", [200, 200])}
    assert response.raw_output_contents == [raw]


async def test_timeout_is_a_deadline(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The protocol's own, in microseconds, where it is shorter than gRPC's."""
    airflow.add(Dag("dag"))
    parameters = {"timeout": pb.InferParameter(int64_param=1_500_000)}

    failed = await failure(
        stub(gateway).ModelInfer(infer(dag_id="dag", parameters=parameters), timeout=60)
    )

    assert failed.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert failed.metadata["run_id"]


async def test_errors_are_those_of_the_contract(airflow: FakeAirflow, gateway: Gateway) -> None:
    """With the same codes, reasons and details."""
    airflow.add(Dag("paused", is_paused=True))
    airflow.add(Dag("failing", script=[steps.fail("predict", raises=ValueError("too bad"))]))
    params = {"limit": {"value": 1, "schema": {"type": "integer"}}}
    airflow.add(echo("strict", params=params))
    text = tensor("limit", "BYTES", [1], bytes_contents=[b"many"])

    async def fail(request: pb.ModelInferRequest) -> tuple[str, str]:
        failed = await failure(stub(gateway).ModelInfer(request, timeout=10))
        assert failed.metadata["dag_id"] == request.model_name
        return failed.code.name, failed.reason

    assert await fail(infer(dag_id="none")) == ("NOT_FOUND", "DAG_NOT_FOUND")
    assert await fail(infer(dag_id="paused")) == ("FAILED_PRECONDITION", "DAG_PAUSED")
    assert await fail(infer(dag_id="failing")) == ("ABORTED", "TASK_FAILED")
    assert await fail(infer(text, dag_id="strict")) == ("INVALID_ARGUMENT", "CONF_INVALID")


async def test_an_error_tells_all_in_its_text(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Reason and run, too, however long it is: Triton's client hands on nothing else."""
    airflow.add(Dag("failing", script=[steps.fail("predict", raises=ValueError("no " * 1000))]))

    failed = await failure(stub(gateway).ModelInfer(infer(dag_id="failing"), timeout=10))

    assert failed.message.startswith("TASK_FAILED: task predict failed on try 1: ValueError: no no")
    assert failed.message.endswith(f"… [run {failed.metadata['run_id']}]")
    assert len(failed.message) < 500


async def test_it_counts_as_every_call(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Its RPCs are counted, and its calls are those of their DAG."""
    airflow.add(echo())
    before = await scrape(gateway)
    await stub(gateway).ModelInfer(infer(), timeout=10)
    after = await scrape(gateway)

    labels = {"grpc_service": "inference.GRPCInferenceService", "grpc_method": "ModelInfer"}
    assert before.shown("grpc_server_handled_total", **labels, grpc_code="OK") == 0
    assert after("grpc_server_handled_total", **labels, grpc_code="OK") == 1
    counted = "dag_inference_calls_total"
    assert after(counted, dag_id="echo", outcome="OK") == 1
