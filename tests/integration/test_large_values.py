"""What a task returned that is so long that a process of its own takes it apart."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import psutil
import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference import AsyncDagInferenceClient
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.apart import LARGE
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults, steps
from gateway_process import GatewayProcess, environment_for, gateway_process
from integration.gateway import Gateway
from integration.inference import infer, stub, values
from integration.run_ids import ours
from integration.statuses import failure
from integration.waiting import eventually

LONG = "x" * LARGE
MOMENT = {
    "__classname__": "datetime.datetime",
    "__version__": 2,
    "__data__": {"timestamp": 1767225600.0, "tz": None},
}
SPREAD = [1, None, LONG, {"of": 4}, "five"]
"""What the instances of a mapped task returned: from the long one on they are packed."""


def workers() -> list[psutil.Process]:
    """The processes that this one, and with it the gateway, has started."""
    return psutil.Process().children()


def returning(value: Any) -> Dag:
    """A DAG whose task returns the value."""
    return Dag("dag", script=[steps.finish("predict", value), steps.end()])


def invoke(gateway: Gateway, form: str = "STRUCT", timeout: float = 60) -> Any:
    """Call that DAG."""
    result_format = pb.ResultFormat.Value(f"RESULT_FORMAT_{form}")
    request = pb.InvokeRequest(dag_id="dag", result_format=result_format)
    return gateway.stub.Invoke(request, timeout=timeout)


@pytest.mark.parametrize(
    ("value", "as_struct", "as_json"),
    [
        (
            {"at": MOMENT, "x": LONG},
            {"at": "2026-01-01T00:00:00Z", "x": LONG},
            {"at": "2026-01-01T00:00:00Z", "x": LONG},
        ),
        ([2**60, None, LONG], {"return_value": [str(2**60), None, LONG]}, [2**60, None, LONG]),
        (LONG, {"return_value": LONG}, LONG),
    ],
    ids=["object", "list", "text"],
)
async def test_it_comes_as_any_other(
    airflow: FakeAirflow, gateway: Gateway, value: Any, as_struct: Any, as_json: Any
) -> None:
    """In every form, of its kind, and with its envelopes opened."""
    airflow.add(returning(value))

    struct = await invoke(gateway)
    text = await invoke(gateway, "JSON")

    assert MessageToDict(struct.result) == as_struct
    assert json.loads(text.result_json) == as_json
    assert struct.result_kind == text.result_kind


async def test_among_small_ones(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It stands in its place in a map, and the map under its task's name."""
    finished = [steps.finish("predict", v, map_index=i) for i, v in enumerate(SPREAD)]
    script = [steps.expand("predict", len(SPREAD)), *finished, steps.finish("other", 6)]
    tasks = Task("predict", is_mapped=True), Task("other")
    airflow.add(Dag("dag", *tasks, tags=["result:predict", "result:other"], script=script))

    response = await invoke(gateway, "JSON")

    assert response.result_kind == pb.RESULT_KIND_BY_TASK
    assert json.loads(response.result_json) == {"predict": SPREAD, "other": 6}


@pytest.mark.parametrize(
    ("returned", "asked"),
    # A list that is one value is none of several.
    [(["a", 1, LONG, [2], {"of": 4}], (1, 0)), (SPREAD, (1, 5))],
    ids=["all at once", "with a null"],
)
async def test_of_a_run_that_has_ended(
    airflow: FakeAirflow, gateway: Gateway, returned: list[Any], asked: tuple[int, int]
) -> None:
    """A map comes in one answer, where that tells which is which."""
    finished = [steps.finish("predict", v, map_index=i) for i, v in enumerate(returned)]
    script = [steps.expand("predict", len(returned)), *finished, steps.end()]
    dag = airflow.add(
        Dag("dag", Task("predict", is_mapped=True), tags=["result:predict"], script=script)
    )
    run = dag.trigger(ours("1"), {})
    for step in script:
        step(run)

    response = await gateway.stub.Wait(pb.WaitRequest(dag_id="dag", run_id=run.run_id), timeout=60)

    assert MessageToDict(response.result) == {"return_value": returned}
    assert (airflow.count(Kind.WAIT), airflow.count(Kind.VALUE)) == asked


async def test_as_tensors(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Each output has the datatype that it would have, the declared one where there is one."""
    value = {"few": [0.5, 2], "large": [7] * 300_000, "words": [LONG]}
    dag = returning(value)
    dag.tags = ["output:few:FP32:2"]
    airflow.add(dag)

    response = await stub(gateway).ModelInfer(infer(dag_id="dag"), timeout=60)

    assert [(o.name, o.datatype) for o in response.outputs] == [
        ("few", "FP32"),
        ("large", "INT64"),
        ("words", "BYTES"),
    ]
    assert values(response) == value


@pytest.mark.parametrize(
    ("value", "form", "reason"),
    [
        ([LONG] * 5, "JSON", "RESULT_TOO_LARGE"),
        ([LONG] * 5, "STRUCT", "RESULT_TOO_LARGE"),
        ([LONG, json.loads("[" * 40 + "]" * 40)], "STRUCT", "RESULT_TOO_DEEP"),
    ],
)
async def test_it_has_the_limits_of_any_other(
    airflow: FakeAirflow, gateway: Gateway, value: Any, form: str, reason: str
) -> None:
    """They are told as if it had been taken apart here."""
    airflow.add(returning(value))

    failed = await failure(invoke(gateway, form))

    assert failed.reason == reason
    assert failed.metadata["run_id"]


async def test_an_answer_that_is_no_json(airflow: FakeAirflow, gateway: Gateway) -> None:
    """What a proxy says instead of Airflow is none of Airflow's, however long it is."""
    airflow.add(returning(LONG))
    airflow.faults.add(faults.answered(2 * LONG.encode()), Kind.VALUE, times=1)

    assert json.loads((await invoke(gateway, "JSON")).result_json) == LONG


async def test_what_is_small_starts_no_process(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Where nothing is large, nothing is spent on it."""
    airflow.add(returning("y" * (LARGE - 1000)))
    before = workers()

    await invoke(gateway)

    assert workers() == before


async def test_the_process_is_killed(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Another one does the work."""
    airflow.add(returning(LONG))
    await invoke(gateway)
    (worker,) = workers()
    worker.suspend()
    airflow.asked.clear()
    call = asyncio.create_task(_text(gateway))
    await eventually(lambda: airflow.count(Kind.VALUE))
    worker.kill()

    assert json.loads(await call) == LONG
    assert worker not in workers()


async def test_the_process_is_always_killed(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A value that no process survives has a coded error, and a reference as the way out."""
    airflow.add(returning(LONG))
    call = asyncio.create_task(failure(invoke(gateway)))

    def killed() -> bool:
        for worker in workers():
            worker.kill()
        return call.done()

    await eventually(killed, timeout=60)

    failed = await call
    assert failed.reason == "RESULT_TOO_LARGE"
    assert "killed" in failed.message
    assert (await invoke(gateway, "REFERENCE")).result_reference


async def test_calls_that_give_up_while_it_starts(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Leave none behind: the next call has the one that they have started."""
    airflow.add(returning(LONG))

    def begins(number: int) -> bool:
        return bool(workers()) and airflow.count(Kind.VALUE) > number

    for number in range(8):
        call = invoke(gateway)
        await eventually(partial(begins, number))
        call.cancel()

    await invoke(gateway)

    assert len(workers()) == 1


async def test_a_deadline_passes_meanwhile(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The call ends in time with its run id, its process with it, and the next is served."""
    airflow.add(returning(LONG))
    await invoke(gateway)
    (worker,) = workers()
    worker.suspend()

    failed = await failure(invoke(gateway, timeout=1))

    assert failed.reason == "DEADLINE_EXCEEDED"
    assert failed.metadata["run_id"]
    await eventually(lambda: worker not in workers())
    assert json.loads(await _text(gateway)) == LONG


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_to_all_processes(
    airflow: FakeAirflow, gateway: Gateway, sign: signal.Signals
) -> None:
    """Calls in flight still get their answers: it is the gateway that ends the process."""
    airflow.add(returning(LONG))
    await invoke(gateway)
    before = workers()
    before[0].send_signal(sign)

    await invoke(gateway)

    assert workers() == before


@pytest.mark.parametrize("ends", [GatewayProcess.end, GatewayProcess.kill])
async def test_the_gateway_ends(
    airflow: FakeAirflow, ends: Callable[[GatewayProcess], Awaitable[None]]
) -> None:
    """It leaves no process behind, not even if it is killed."""
    airflow.add(returning(LONG))
    async with gateway_process(environment_for(airflow, SHUTDOWN_GRACE="0")) as process:
        async with AsyncDagInferenceClient(process.target) as client:
            assert await client.invoke("dag", timeout=60) == {"return_value": LONG}
        (worker,) = psutil.Process(process.pid).children()
        await ends(process)

        await eventually(lambda: not worker.is_running(), timeout=20)


async def _text(gateway: Gateway) -> str:
    text: str = (await invoke(gateway, "JSON")).result_json
    return text
