"""A DAG is a model: the Open Inference Protocol on the same port."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import Any

import grpc
import pytest

from dag_inference.errors import RequestInvalid
from dag_inference_server.airflow import DagDetails
from dag_inference_server.edge.open_inference import responses
from dag_inference_server.edge.open_inference.fitting import check_version, is_latest
from dag_inference_server.inference import open_inference_pb2 as pb
from dag_inference_server.tensors.writing import tensor_of
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults, steps
from integration.gateway import Gateway, running, settings_for
from integration.inference import echo, infer, kinds, returning, stub, tensor, values, well
from integration.scraping import scrape
from integration.statuses import ended, failure
from integration.waiting import first_run


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
    call = stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)
    run = await first_run(dag)

    metadata: Mapping[str, Any] = dict(await call.initial_metadata())
    call.cancel()
    await ended(call)

    assert metadata["dag-run-id"] == run.run_id
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


PARAMS: Mapping[str, Mapping[str, Any]] = {
    "limit": {"value": 1, "schema": {"type": "integer"}},
    "maybe": {"schema": {"type": ["null", "string"]}},
    "rows": {"schema": {"type": "array", "items": {"type": "number"}}},
    "either": {"schema": {"anyOf": [{"type": "number"}, {"type": "array"}]}},
    "untyped": {"value": "text"},
    "order": {"schema": {"type": "object"}},
    "lines": {"schema": {"type": "array", "items": {"type": "object"}}},
    "image": {"schema": {"type": "string", "contentEncoding": "base64"}},
}


@pytest.mark.parametrize(
    ("sent", "conf"),
    [
        (tensor("limit", "INT32", [1], int_contents=[7]), 7),
        (tensor("limit", "INT32", [], int_contents=[7]), 7),
        (tensor("maybe", "BYTES", [1], bytes_contents=[b"yes"]), "yes"),
        (tensor("untyped", "BYTES", [1], bytes_contents=[b"yes"]), "yes"),
        (tensor("rows", "FP64", [1], fp64_contents=[0.5]), [0.5]),
        (tensor("either", "FP64", [1], fp64_contents=[0.5]), [0.5]),
        (tensor("unknown", "FP64", [1], fp64_contents=[0.5]), [0.5]),
        (tensor("order", "BYTES", [1], bytes_contents=[b'{"n": 1}']), {"n": 1}),
        (tensor("lines", "BYTES", [2], bytes_contents=[b'{"n": 1}', b"{}"]), [{"n": 1}, {}]),
        (tensor("image", "BYTES", [1], bytes_contents=[b"abc"]), "YWJj"),
        (tensor("image", "BYTES", [1], bytes_contents=[b"\x89PNG"]), "iVBORw=="),
    ],
    ids=str,
)
async def test_params_say_what_a_tensor_means(
    airflow: FakeAirflow, gateway: Gateway, sent: Any, conf: Any
) -> None:
    """A tensor of one is a scalar, a text an object or base64, where nothing else would do."""
    needed = {"order": {}, "lines": [], "rows": [], "either": 0, "image": ""}
    params = {n: {"value": needed.get(n), **p} for n, p in PARAMS.items()}
    dag = airflow.add(echo(params=params))

    await stub(gateway).ModelInfer(infer(sent), timeout=10)

    assert dag.made[0].conf == {sent.name: conf}


async def test_parameters_are_keys_of_the_conf(airflow: FakeAirflow, gateway: Gateway) -> None:
    """But for those of the call itself."""
    dag = airflow.add(echo())
    parameters = {
        "limit": pb.InferParameter(int64_param=7),
        "rate": pb.InferParameter(double_param=0.5),
        "name": pb.InferParameter(string_param="a"),
        "deep": pb.InferParameter(bool_param=True),
        "large": pb.InferParameter(uint64_param=2**64 - 1),
        "request_id": pb.InferParameter(string_param="once"),
        "timeout": pb.InferParameter(int64_param=9_000_000),
        "triton_enable_empty_final_response": pb.InferParameter(bool_param=True),
    }

    await stub(gateway).ModelInfer(infer(parameters=parameters), timeout=10)

    conf = {"limit": 7, "rate": 0.5, "name": "a", "deep": True, "large": 2**64 - 1}
    assert dag.made[0].conf == conf


async def test_only_the_request_id_makes_calls_one(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The same `id` twice is two runs; the same `request_id` is one, also for `Invoke`."""
    dag = airflow.add(echo())
    once = {"request_id": pb.InferParameter(string_param="once")}

    for _ in range(2):
        await stub(gateway).ModelInfer(infer(id="same"), timeout=10)
        await stub(gateway).ModelInfer(infer(id="same", parameters=once), timeout=10)

    assert len(dag.made) == 3
    await gateway.client.invoke("echo", request_id="once", timeout=10)
    assert len(dag.made) == 3


async def test_a_request_id_finds_its_run_after_a_new_version(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """The version that was the latest when the run was made is no reason to lose it."""
    dag = airflow.add(echo(tags=["result:predict"]))
    request = infer(
        model_version="1", parameters={"request_id": pb.InferParameter(string_param="once")}
    )
    first = await stub(gateway).ModelInfer(request, timeout=10)
    dag.new_version(Task("predict"))
    await eventually_version(gateway, "2")

    again = await stub(gateway).ModelInfer(request, timeout=10)

    assert again.parameters["dag_run_id"] == first.parameters["dag_run_id"]


@pytest.mark.parametrize(
    ("before", "after", "sent"),
    [
        (
            {"type": ["integer", "array"]},
            {"type": "integer"},
            tensor("x", "INT64", [1], int64_contents=[7]),
        ),
        (
            {"type": "string"},
            {"type": "object"},
            tensor("x", "BYTES", [1], bytes_contents=[b"no JSON"]),
        ),
        (
            {"type": "string"},
            {"type": "string", "contentEncoding": "base64"},
            tensor("x", "BYTES", [1], bytes_contents=[b"abc"]),
        ),
    ],
    ids=["no list any more", "an object now", "base64 now"],
)
async def test_a_request_id_finds_its_run_after_the_params_changed(
    airflow: FakeAirflow,
    gateway: Gateway,
    before: dict[str, Any],
    after: dict[str, Any],
    sent: Any,
) -> None:
    """The same words are the same request, whatever they mean today; other words are not."""
    params = {"x": {"value": None, "schema": before}}
    dag = airflow.add(echo(params=params, tags=["result:predict"]))
    once = {"request_id": pb.InferParameter(string_param="once")}
    first = await stub(gateway).ModelInfer(infer(sent, parameters=once), timeout=10)
    dag.params = {"x": {"value": None, "schema": after}}
    dag.new_version(Task("predict"))
    await eventually_version(gateway, "2")

    again = await stub(gateway).ModelInfer(infer(sent, parameters=once), timeout=10)
    other = tensor("x", "INT64", [1], int64_contents=[8])
    failed = await failure(stub(gateway).ModelInfer(infer(other, parameters=once), timeout=10))

    assert again.parameters["dag_run_id"] == first.parameters["dag_run_id"]
    assert failed.reason == "REQUEST_ID_REUSED"
    assert len(dag.made) == 1


@pytest.mark.parametrize(
    "text", [b'{"n": NaN}', b'{"n": 1e400}', b'{"n": "\\u0000"}', b'{"n": "\\ud800"}']
)
async def test_a_text_that_is_json_of_what_cannot_be_stored(
    airflow: FakeAirflow, gateway: Gateway, text: bytes
) -> None:
    """Is refused by its place, before a run is made."""
    dag = airflow.add(echo(params={"x": {"value": {}, "schema": {"type": "object"}}}))
    sent = tensor("x", "BYTES", [1], bytes_contents=[text])

    failed = await failure(stub(gateway).ModelInfer(infer(sent), timeout=10))

    assert (failed.reason, failed.violations) == ("REQUEST_INVALID", ["conf.x.n"])
    assert not dag.made


async def eventually_version(gateway: Gateway, version: str) -> None:
    """Wait until the gateway knows of it: what it knows of a DAG is up to a second old."""
    request = pb.ModelMetadataRequest(name="echo")
    async with asyncio.timeout(10):
        while version not in (await stub(gateway).ModelMetadata(request, timeout=5)).versions:
            pass


@pytest.mark.parametrize(
    ("value", "datatype", "shape"),
    [
        (True, "BOOL", []),
        (7, "INT64", []),
        (0.5, "FP64", []),
        ("text", "BYTES", []),
        ([1], "INT64", [1]),
        ([], "FP64", [0]),
        ([[], []], "FP64", [2, 0]),
        ([[1, 2], [3, 4], [5, 6]], "INT64", [3, 2]),
        ([1, 0.5], "FP64", [2]),
        ([True, False], "BOOL", [2]),
        (["a", "ü"], "BYTES", [2]),
        ([2**64 - 1], "UINT64", [1]),
    ],
    ids=str,
)
async def test_what_is_a_tensor(
    airflow: FakeAirflow, gateway: Gateway, value: Any, datatype: str, shape: list[int]
) -> None:
    """Scalars have no dimensions, rectangular lists have theirs, and both come back equal."""
    airflow.add(returning(value))

    response = await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)

    assert kinds(response) == {"return_value": (datatype, shape)}
    assert not response.outputs[0].parameters
    assert values(response) == {"return_value": value}


@pytest.mark.parametrize(
    "value",
    [[[1, 2], [3]], [1, "a"], [True, 1], [None], [{"a": 1}], [-1, 2**64 - 1], [2**53 + 1, 0.5]],
    ids=str,
)
async def test_what_is_none(airflow: FakeAirflow, gateway: Gateway, value: Any) -> None:
    """Whatever else there is comes as JSON, exactly, and says so."""
    airflow.add(returning(value))

    response = await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)

    assert kinds(response) == {"return_value": ("BYTES", [])}
    parameter = response.outputs[0].parameters["content_type"]
    assert parameter.string_param == "application/json"
    assert values(response) == {"return_value": value}


async def test_null_is_json(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Of a task that returned nothing, too."""
    airflow.add(returning(None))

    response = await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)

    assert response.outputs[0].parameters["content_type"].string_param == "application/json"
    assert values(response) == {"return_value": None}


async def test_several_result_tasks(airflow: FakeAirflow, gateway: Gateway) -> None:
    """One output for each."""
    script = [steps.finish("left", [1, 2]), steps.finish("right", {"a": 1})]
    tags = ["result:left", "result:right"]
    airflow.add(Dag("dag", Task("left"), Task("right"), tags=tags, script=script))

    response = await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)

    assert values(response) == {"left": [1, 2], "right": {"a": 1}}
    assert kinds(response) == {"left": ("INT64", [2]), "right": ("BYTES", [])}


async def test_no_result_task(airflow: FakeAirflow, gateway: Gateway) -> None:
    """No outputs, and no error."""
    script = [steps.finish("left", 1), steps.finish("right", 2), steps.end()]
    airflow.add(Dag("dag", Task("left"), Task("right"), script=script))

    assert not (await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)).outputs


async def test_outputs_that_are_wanted(airflow: FakeAirflow, gateway: Gateway) -> None:
    """They come in the order of the request, and the others stay away."""
    airflow.add(returning({"a": 1, "b": 2, "c": 3}))
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in "ca"]

    response = await stub(gateway).ModelInfer(infer(dag_id="dag", outputs=wanted), timeout=10)

    assert [output.name for output in response.outputs] == ["c", "a"]
    assert values(response) == {"c": 3, "a": 1}


@pytest.mark.parametrize(("tags", "runs"), [((), 1), (("output:b:INT64",), 0)])
async def test_an_output_that_there_is_not(
    airflow: FakeAirflow, gateway: Gateway, tags: tuple[str, ...], runs: int
) -> None:
    """Is refused: before there is a run, if the DAG's author has declared what there is."""
    dag = airflow.add(returning({"b": 1}, tags=tags))
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name="a")]

    failed = await failure(
        stub(gateway).ModelInfer(infer(dag_id="dag", outputs=wanted), timeout=10)
    )

    assert (failed.code, failed.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_INVALID",
    )
    assert failed.violations == ["outputs[0].name"]
    assert failed.message.endswith("the outputs are: b")
    assert len(dag.made) == runs
    assert ("run_id" in failed.metadata) == bool(runs)


@pytest.mark.parametrize(
    ("declared", "value", "told"),
    [
        ("FP32", [1, 0.5], ("FP32", struct.pack("<2f", 1, 0.5))),
        ("FP16", [1, 0.5], ("FP16", struct.pack("<2e", 1, 0.5))),
        ("BF16", [1, 0.5], ("BF16", b"\x80\x3f\x00\x3f")),
        ("INT8", [1, -1], ("INT8", b"\x01\xff")),
        ("INT8", [1, 128], ("INT64", struct.pack("<2q", 1, 128))),
        ("FP32", [1e300, 0], ("FP64", struct.pack("<2d", 1e300, 0))),
        ("FP32", [2**24, 1], ("FP32", struct.pack("<2f", 2**24, 1))),
        ("FP32", [2**24 + 1, 1], ("INT64", struct.pack("<2q", 2**24 + 1, 1))),
        ("FP32", [2**24 + 1, 0.5], ("FP64", struct.pack("<2d", 2**24 + 1, 0.5))),
        ("FP64", [2**53 + 1], ("INT64", struct.pack("<q", 2**53 + 1))),
        ("INT64", [0.5, 1], ("FP64", struct.pack("<2d", 0.5, 1))),
        ("UINT8", [], ("UINT8", b"")),
        ("BYTES", ["a", "b"], ("BYTES", b"\1\0\0\0a\1\0\0\0b")),
        ("BYTES", [1, 2], ("BYTES", b"\5\0\0\0[1,2]")),
    ],
)
async def test_a_declared_datatype(
    airflow: FakeAirflow, gateway: Gateway, declared: str, value: Any, told: tuple[str, bytes]
) -> None:
    """Is taken if the value fits it; else the value comes as it is, and says what it is."""
    airflow.add(returning({"x": value}, tags=[f"output:x:{declared}:-1"]))

    response = await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10)

    assert (response.outputs[0].datatype, response.raw_output_contents[0]) == told


async def test_metadata(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Inputs come from the params, outputs from the tags, and there is one version."""
    scalars = {"boolean": "BOOL", "integer": "INT64", "number": "FP64", "string": "BYTES"}
    grid = {"type": "array", "minItems": 3, "maxItems": 3, "items": {"type": "number"}}
    params: dict[str, Any] = {name: {"schema": {"type": name}} for name in scalars}
    params |= {
        "object": {"schema": {"type": "object"}},
        "grid": {"schema": {"type": ["null", "array"], "items": grid}},
        "either": {"schema": {"anyOf": [{"type": "null"}, grid]}},
        "default": {"value": [[1, 2]]},
        "anything": {"value": None},
    }
    tags = ["output:scores:FP32:-1,3", "output:label:BYTES", "output:bad:FP31", "example"]
    dag = airflow.add(Dag("dag", params=params, tags=tags))
    dag.new_version(Task("predict"), Task("more"))

    found = await stub(gateway).ModelMetadata(pb.ModelMetadataRequest(name="dag"), timeout=5)

    assert (found.name, [*found.versions], found.platform) == ("dag", ["2"], "airflow")
    assert {i.name: (i.datatype, [*i.shape]) for i in found.inputs} == {
        **{name: (datatype, [1]) for name, datatype in scalars.items()},
        "object": ("BYTES", [1]),
        "grid": ("FP64", [-1, 3]),
        "either": ("FP64", [3]),
        "default": ("INT64", [-1, -1]),
        "anything": ("BYTES", [1]),
    }
    assert {o.name: (o.datatype, [*o.shape]) for o in found.outputs} == {
        "scores": ("FP32", [-1, 3]),
        "label": ("BYTES", []),
    }


async def test_other_versions(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Only the latest can be called: another is not ready, has no metadata and makes no run."""
    dag = airflow.add(echo())
    await well(gateway)
    names: Any = stub(gateway)

    for version, is_ready in (("1", True), ("2", False), ("one", False)):
        ready = await names.ModelReady(
            pb.ModelReadyRequest(name="echo", version=version), timeout=5
        )
        assert ready.ready == is_ready
        calls = (
            names.ModelMetadata(pb.ModelMetadataRequest(name="echo", version=version), timeout=5),
            names.ModelInfer(infer(model_version=version), timeout=5),
        )
        for call in calls:
            if is_ready:
                await call
                continue
            failed = await failure(call)
            assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
            assert failed.violations == ["model_version"]
    assert len(dag.made) == 1


@pytest.mark.parametrize("version", ["0", "1", "None"])
def test_no_version_is_the_latest_where_airflow_tells_none(version: str) -> None:
    """Not even one that is called so."""
    dag = DagDetails(dag_id="dag", is_paused=False, is_stale=False)

    assert not is_latest(version, dag)
    with pytest.raises(RequestInvalid, match="not told by Airflow"):
        check_version(version, dag)
    check_version("", dag)


@pytest.mark.parametrize(
    ("dag", "settings", "is_ready"),
    [
        (Dag("dag"), {}, True),
        (Dag("dag", is_paused=True), {}, False),
        (Dag("dag", has_import_errors=True), {}, False),
        (Dag("dag"), {"dags": "other"}, False),
        (Dag("other"), {}, False),
    ],
    ids=["ready", "paused", "broken", "not served", "unknown"],
)
async def test_what_is_ready(
    airflow: FakeAirflow, gateway: Gateway, dag: Dag, is_ready: bool
) -> None:
    """A DAG that can be called now; of any other, that it is not, which is no error."""
    airflow.add(dag)
    await well(gateway)

    answer = await stub(gateway).ModelReady(pb.ModelReadyRequest(name="dag"), timeout=5)

    assert answer.ready == is_ready


@pytest.mark.parametrize("status", [403, 503])
async def test_a_version_that_airflow_does_not_tell(
    airflow: FakeAirflow, gateway: Gateway, status: int
) -> None:
    """Is not ready, and no error either, though the DAG was ready just before."""
    airflow.add(Dag("dag"))
    await well(gateway)
    ready: Any = stub(gateway).ModelReady
    assert (await ready(pb.ModelReadyRequest(name="dag"), timeout=5)).ready

    airflow.faults.add(faults.refused(status), Kind.DAG)
    # What Airflow has told is good for a second, and that the DAG is ready for five.
    request = pb.ModelReadyRequest(name="dag", version="1")
    async with asyncio.timeout(10):
        while (await ready(request, timeout=5)).ready:
            pass


async def test_the_server(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It lives at once, is ready from Airflow's first answer on, and says what it is."""
    await gateway.ready()

    assert (await stub(gateway).ServerLive(pb.ServerLiveRequest(), timeout=5)).live
    assert (await stub(gateway).ServerReady(pb.ServerReadyRequest(), timeout=5)).ready
    found = await stub(gateway).ServerMetadata(pb.ServerMetadataRequest(), timeout=5)
    assert (found.name, [*found.extensions]) == ("dag-inference", ["parameters"])
    assert found.version
    assert await gateway.health("inference.GRPCInferenceService") == "SERVING"


async def test_it_counts_as_every_call(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Its methods begin with zero, its RPCs are counted, and its calls are those of their DAG."""
    airflow.add(echo())
    before = await scrape(gateway)
    await stub(gateway).ModelInfer(infer(), timeout=10)
    after = await scrape(gateway)

    labels = {"grpc_service": "inference.GRPCInferenceService", "grpc_method": "ModelInfer"}
    assert before("grpc_server_handled_total", **labels, grpc_code="OK") == 0
    assert after("grpc_server_handled_total", **labels, grpc_code="OK") == 1
    stream = {**labels, "grpc_method": "ModelStreamInfer", "grpc_type": "bidi_stream"}
    assert after("grpc_server_started_total", **stream) == 0
    counted = "dag_inference_calls_total"
    assert after(counted, dag_id="echo", outcome="OK") == 1


async def test_a_large_tensor(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Of many thousand elements, both ways, and as exact as a small one."""
    airflow.add(echo())
    numbers = [index / 7 for index in range(40_000)]
    sent = tensor("x", "FP64", [200, 200])
    raw = struct.pack("<40000d", *numbers)

    response = await stub(gateway).ModelInfer(infer(sent, raw_input_contents=[raw]), timeout=20)

    assert kinds(response) == {"x": ("FP64", [200, 200])}
    assert response.raw_output_contents == [raw]


@pytest.mark.parametrize("settings", [{"max_result_bytes": 1024}])
async def test_a_result_that_is_too_large(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The limit is that of every answer, and fewer outputs are a way out."""
    airflow.add(returning({"large": [0.5] * 200, "small": 1}))
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name="small")]

    failed = await failure(stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10))

    assert (failed.code, failed.reason) == (grpc.StatusCode.OUT_OF_RANGE, "RESULT_TOO_LARGE")
    assert failed.metadata["run_id"]
    response = await stub(gateway).ModelInfer(infer(dag_id="dag", outputs=wanted), timeout=10)
    assert values(response) == {"small": 1}


@pytest.mark.parametrize("settings", [{"max_result_bytes": 25_000}])
async def test_a_result_of_too_many_keys(
    airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is made into tensors no further than the limit goes."""
    airflow.add(returning({str(index): 0 for index in range(2000)}))
    made: list[object] = []

    def counted(*value: Any) -> Any:
        made.append(value)
        return tensor_of(*value)

    monkeypatch.setattr(responses, "tensor_of", counted)

    failed = await failure(stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=10))

    assert failed.reason == "RESULT_TOO_LARGE"
    assert 500 < len(made) < 1500


async def test_timeout_is_a_deadline(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The protocol's own, in microseconds, where it is shorter than gRPC's."""
    airflow.add(Dag("dag"))
    parameters = {"timeout": pb.InferParameter(int64_param=300_000)}

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


async def test_not_ready(airflow: FakeAirflow) -> None:
    """Before Airflow's first answer the server is live and not ready, and neither is a DAG."""
    airflow.add(Dag("dag"))
    await airflow.stop()
    async with running(settings_for(airflow)) as gateway:
        assert (await stub(gateway).ServerLive(pb.ServerLiveRequest(), timeout=5)).live
        assert not (await stub(gateway).ServerReady(pb.ServerReadyRequest(), timeout=5)).ready
        request = pb.ModelReadyRequest(name="dag")
        assert not (await stub(gateway).ModelReady(request, timeout=5)).ready
