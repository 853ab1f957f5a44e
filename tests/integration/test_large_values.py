"""Values that are too large to be read where other calls would wait for it."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.inference import open_inference_pb2 as inference_pb
from fakes.airflow import Dag, FakeAirflow, Task, steps
from integration import inference
from integration.gateway import Gateway
from integration.slow import work
from integration.statuses import failure
from integration.waiting import eventually

LONG = "é" * 100_000
MAPPED = Task("predict", is_mapped=True)
MOMENT = {
    "__classname__": "datetime.datetime",
    "__version__": 2,
    "__data__": {"timestamp": 1767225600.0, "tz": None},
}
AT = "2026-01-01T00:00:00Z"


def one(value: Any, dag_id: str = "dag", **others: Any) -> Dag:
    """A DAG with a result."""
    return Dag(dag_id, script=[steps.finish("predict", value), steps.end()], **others)


def several(values: list[Any], other: Any) -> Dag:
    """A DAG with a mapped result, and another."""
    finished = [steps.finish("predict", v, map_index=i) for i, v in enumerate(values)]
    return Dag(
        "dag",
        MAPPED,
        Task("other"),
        tags=["result:predict", "result:other"],
        script=[
            steps.expand("predict", len(values)),
            *finished,
            steps.finish("other", other),
            steps.end(),
        ],
    )


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: one({"at": MOMENT, "text": LONG}), ("OBJECT", {"at": AT, "text": LONG})),
        (lambda: one([LONG, MOMENT, None, 2**60]), ("WRAPPED_VALUE", [LONG, AT, None, 2**60])),
        (lambda: one(LONG), ("WRAPPED_VALUE", LONG)),
        (
            lambda: one({"text": LONG, "odd": [math.nan, -math.inf]}),
            ("OBJECT", {"text": LONG, "odd": ["NaN", "-Infinity"]}),
        ),
        (
            lambda: several([LONG, None, {"at": MOMENT}], MOMENT),
            ("BY_TASK", {"predict": [LONG, None, {"at": AT}], "other": AT}),
        ),
        # Read all at once when the run has ended, and small but for their sum.
        (
            lambda: several([[MOMENT] * 100] * 50, [LONG]),
            ("BY_TASK", {"predict": [[AT] * 100] * 50, "other": [LONG]}),
        ),
    ],
    ids=[
        "object",
        "list",
        "text",
        "odd numbers",
        "mapped, and another",
        "many mapped, and another",
    ],
)
async def test_it_is_as_a_small_one(
    airflow: FakeAirflow,
    gateway: Gateway,
    make: Callable[[], Dag],
    expected: tuple[str, Any],
) -> None:
    """Whatever it is, and in whatever form it is wanted, it comes as a small one would."""
    kind, result = expected
    airflow.add(make())
    as_struct = json.loads(json.dumps(result).replace(str(2**60), f'"{2**60}"'))
    if kind == "WRAPPED_VALUE":
        as_struct = {"return_value": as_struct}

    first = await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=20)
    request = pb.WaitRequest(dag_id="dag", run_id=first.run.run_id)
    again = await gateway.stub.Wait(request, timeout=20)
    *_, event = [event async for event in gateway.stub.Watch(request, timeout=20)]
    request.result_format = pb.RESULT_FORMAT_JSON
    text = await gateway.stub.Wait(request, timeout=20)

    assert pb.ResultKind.Name(first.result_kind) == f"RESULT_KIND_{kind}"
    assert MessageToDict(first.result) == as_struct
    assert again.result == event.result.result == first.result
    assert json.loads(text.result_json) == result
    assert event.event_time.seconds > 0
    for answer in (first, again, event.result, text):
        assert answer.run.run_id == first.run.run_id
        assert answer.timing.translation.ToNanoseconds() > 0


@pytest.mark.parametrize("is_stream", [False, True], ids=["call", "stream"])
async def test_it_is_tensors(airflow: FakeAirflow, gateway: Gateway, is_stream: bool) -> None:
    """In the Open Inference Protocol, too, with the datatypes that its author has declared."""
    value = {"xs": [1.5] * 20_000, "texts": ["é", "y"], "at": MOMENT, "mixed": [LONG, 1]}
    tags = ["output:xs:FP32:-1", "output:texts:BYTES:-1"]
    airflow.add(one(value, tags=tags))
    request = inference.infer(dag_id="dag", id="a name")

    if is_stream:

        async def requests() -> Any:
            yield request

        stub = inference.stub(gateway)
        (answer,) = [each async for each in stub.ModelStreamInfer(requests(), timeout=20)]
        response = answer.infer_response
        assert response.parameters["triton_final_response"].bool_param
    else:
        response = await inference.stub(gateway).ModelInfer(request, timeout=20)

    assert response.id == "a name"
    assert response.parameters["dag_run_id"].string_param
    assert inference.values(response) == value | {"at": AT}
    assert inference.kinds(response)["xs"] == ("FP32", [20_000])


async def test_it_is_deep(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A value of some kilobytes, of which another process makes tensors, too, may be deep."""
    deep = json.loads("[" * 600 + "]" * 600)
    airflow.add(one({"deep": deep, "text": "x" * 9_000}))

    response = await inference.stub(gateway).ModelInfer(inference.infer(dag_id="dag"), timeout=20)

    assert inference.values(response) == {"deep": deep, "text": "x" * 9_000}


async def test_outputs_that_are_wanted(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Only these come, and one that is not there is named beside those that are."""
    airflow.add(one({"long": LONG, "short": 1}))
    wanted = [inference_pb.ModelInferRequest.InferRequestedOutputTensor(name="short")]
    stub = inference.stub(gateway)

    response = await stub.ModelInfer(inference.infer(dag_id="dag", outputs=wanted), timeout=20)
    wanted[0].name = "other"
    failed = await failure(
        stub.ModelInfer(inference.infer(dag_id="dag", outputs=wanted), timeout=20)
    )

    assert inference.values(response) == {"short": 1}
    assert failed.reason == "REQUEST_INVALID"
    assert "long, short" in failed.message
    assert failed.metadata["run_id"]


@pytest.mark.parametrize(
    "slow", ["airflow.values.value_of", "edge.responses.struct_bytes_of"], ids=["read", "made"]
)
@pytest.mark.parametrize("settings", [{"default_deadline": 1.5}], ids=[""])
async def test_the_deadline_passes(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """While the value is read or the answer made: the run's id comes all the same.

    Nobody else waits for what is left of the work. A call that wanted its run ended has it ended,
    although its result was there.
    """
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", LONG)], tags=["result:predict"]))
    request = pb.InvokeRequest(dag_id="dag", on_deadline=pb.ON_DEADLINE_CANCEL)

    with monkeypatch.context() as patch:
        patch.setattr(f"dag_inference_server.{slow}", work)
        failed = await failure(gateway.stub.Invoke(request))
    answer = await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=20)

    assert failed.reason == "DEADLINE_EXCEEDED"
    assert failed.metadata["run_id"] == dag.made[0].run_id
    assert "it is ended" in failed.message
    assert await eventually(lambda: dag.made[0].state == "failed")
    assert answer.result["return_value"] == LONG


@pytest.mark.parametrize(
    ("value", "result_format", "way_out"),
    [
        ([0] * 1_000_000, "STRUCT", "ask for JSON or a reference"),
        (["é" * 100] * 50_000, "STRUCT", "ask for a reference"),
        (["é" * 100] * 50_000, "JSON", "ask for a reference"),
    ],
)
async def test_it_is_too_large(
    airflow: FakeAirflow, gateway: Gateway, value: Any, result_format: str, way_out: str
) -> None:
    """What is read but cannot be sent is an error that says how to get it."""
    airflow.add(one(value))
    request = pb.InvokeRequest(
        dag_id="dag", result_format=pb.ResultFormat.Value(f"RESULT_FORMAT_{result_format}")
    )

    failed = await failure(gateway.stub.Invoke(request, timeout=30))

    assert failed.reason == "RESULT_TOO_LARGE"
    assert failed.message.endswith(way_out)
    assert failed.metadata["run_id"]


async def test_the_process_that_reads_it_is_killed(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The next value is read by another."""
    airflow.add(one(LONG))
    request = pb.InvokeRequest(dag_id="dag")
    first = await gateway.stub.Invoke(request, timeout=20)
    (reader,) = _readers()
    os.kill(reader, signal.SIGKILL)
    await eventually(lambda: not _readers())

    second = await gateway.stub.Invoke(request, timeout=20)

    assert first.result == second.result
    assert len(_readers()) == 1


def _readers() -> list[int]:
    """The processes of this one's that read large values."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
    return [
        int(pid)
        for pid in children.split()
        if b"dag_inference_server.apart" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
