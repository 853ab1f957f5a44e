"""What the server and its models say of themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from dag_inference.errors import RequestInvalid
from dag_inference_server.airflow import DagDetails
from dag_inference_server.edge.open_inference.fitting import check_version, is_latest
from dag_inference_server.inference import open_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults
from integration.gateway import Gateway, running, settings_for
from integration.inference import echo, infer, stub, well
from integration.statuses import failure


async def test_the_server(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It lives at once, is ready from Airflow's first answer on, and says what it is."""
    await gateway.ready()

    assert (await stub(gateway).ServerLive(pb.ServerLiveRequest(), timeout=5)).live
    assert (await stub(gateway).ServerReady(pb.ServerReadyRequest(), timeout=5)).ready
    found = await stub(gateway).ServerMetadata(pb.ServerMetadataRequest(), timeout=5)
    assert (found.name, [*found.extensions]) == ("dag-inference", ["parameters"])
    assert found.version
    assert await gateway.health("inference.GRPCInferenceService") == "SERVING"


async def test_not_ready(airflow: FakeAirflow) -> None:
    """Before Airflow's first answer the server is live and not ready, and neither is a DAG."""
    airflow.add(Dag("dag"))
    await airflow.stop()
    async with running(settings_for(airflow)) as gateway:
        assert (await stub(gateway).ServerLive(pb.ServerLiveRequest(), timeout=5)).live
        assert not (await stub(gateway).ServerReady(pb.ServerReadyRequest(), timeout=5)).ready
        request = pb.ModelReadyRequest(name="dag")
        assert not (await stub(gateway).ModelReady(request, timeout=5)).ready


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
