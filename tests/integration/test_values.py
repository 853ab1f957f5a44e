"""What a task returned, and what of it reaches the caller."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Run, Task, steps
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.statuses import failure
from integration.waiting import first_run

MAPPED = Task("predict", is_mapped=True)
SAFE = 2**53 - 1


def returning(*values: Any) -> Dag:
    """A DAG whose task returns the value that conf names by its number."""

    def finish(run: Run) -> None:
        assert run.conf is not None
        run.finish("predict", values[run.conf["number"]])

    return Dag("dag", script=[finish, steps.end()])


def request(number: int = 0, result_format: str = "STRUCT") -> pb.InvokeRequest:
    """A call of that DAG."""
    return pb.InvokeRequest(
        dag_id="dag",
        conf_json=json.dumps({"number": number}),
        result_format=pb.ResultFormat.Value(f"RESULT_FORMAT_{result_format}"),
    )


MOMENT = {
    "__classname__": "datetime.datetime",
    "__version__": 2,
    "__data__": {"timestamp": 1767225600.0, "tz": None},
}
POINT = {
    "__classname__": "shop.models.Point",
    "__version__": 0,
    "__data__": {
        "at": MOMENT,
        "xs": {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, 2**60]},
    },
}


@pytest.mark.parametrize(
    ("returned", "as_struct", "as_json"),
    [
        (
            POINT,
            {"at": "2026-01-01T00:00:00Z", "xs": [1, str(2**60)]},
            {"at": "2026-01-01T00:00:00Z", "xs": [1, 2**60]},
        ),
        (
            MOMENT,
            {"return_value": "2026-01-01T00:00:00Z"},
            "2026-01-01T00:00:00Z",
        ),
        (
            "s3://bucket/key/of/a/value",
            {"return_value": "s3://bucket/key/of/a/value"},
            "s3://bucket/key/of/a/value",
        ),
    ],
    ids=["object", "moment", "reference of a custom backend"],
)
async def test_a_value_of_a_class(
    airflow: FakeAirflow,
    gateway: Gateway,
    returned: Any,
    as_struct: dict[str, Any],
    as_json: Any,
) -> None:
    """Airflow's envelopes are opened in both forms, and what a backend stores comes as it is."""
    airflow.add(returning(returned))

    struct = await gateway.stub.Invoke(request(), timeout=5)
    text = await gateway.stub.Invoke(request(result_format="JSON"), timeout=5)

    assert MessageToDict(struct.result) == as_struct
    assert json.loads(text.result_json) == as_json
    assert struct.result_kind == text.result_kind


async def test_what_is_no_number_of_json(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It has its name, in both forms: no Struct may hold it, and no JSON text, not even 1e400."""
    airflow.add(returning([math.nan, math.inf, -math.inf, 1.5, "ä"]))

    struct = await gateway.stub.Invoke(request(), timeout=5)
    text = await gateway.stub.Invoke(request(result_format="JSON"), timeout=5)

    assert MessageToDict(struct.result) == {
        "return_value": ["NaN", "Infinity", "-Infinity", 1.5, "ä"]
    }
    assert text.result_json == '["NaN","Infinity","-Infinity",1.5,"ä"]'


async def test_an_empty_map(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A mapped task with nothing to map over has the result `[]`, while the run goes on."""
    dag = airflow.add(Dag("dag", MAPPED, Task("other"), tags=["result:predict"]))
    answer = asyncio.create_task(_call(gateway))
    run = await first_run(dag)
    run.start()
    run.expand("predict", 0)

    response = await answer

    assert MessageToDict(response.result) == {"return_value": []}
    assert response.run.state == pb.RUN_STATE_RUNNING


async def test_an_empty_map_among_others(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Beside another result it stands under its own name, in the order of the names."""
    script = [steps.expand("predict", 0), steps.finish("other", 1), steps.end()]
    airflow.add(
        Dag("dag", MAPPED, Task("other"), tags=["result:predict", "result:other"], script=script)
    )

    response = await _call(gateway)

    assert response.result_kind == pb.RESULT_KIND_BY_TASK
    assert MessageToDict(response.result) == {"predict": [], "other": 1}


async def test_a_map_that_a_branch_leads_around(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Skipped as a whole, a mapped task is no empty map: it has no result."""
    airflow.add(Dag("dag", MAPPED, script=[steps.start(), steps.state("predict", "skipped")]))

    failed = await failure(gateway.stub.Invoke(request(), timeout=5))

    assert failed.reason == "RESULT_SKIPPED"


async def test_a_map_that_the_run_s_timeout_skipped(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The DAG's own timeout skips what waits just as an empty map is skipped: still no result."""

    def time_out(run: Run) -> None:
        run.expand("predict", 0)
        run.end("failed")

    airflow.add(Dag("dag", MAPPED, script=[steps.start(), time_out]))

    failed = await failure(gateway.stub.Invoke(request(), timeout=5))

    assert failed.reason in {"RUN_TIMED_OUT", "RESULT_SKIPPED"}


@pytest.mark.parametrize(
    ("version", "values", "asked"),
    [
        ("3.3.2", range(40), (1, 0)),
        # Nobody knows which of them it is that the one answer leaves out.
        ("3.3.2", [*range(39), None], (1, 40)),
        ("3.3.2", range(3), (0, 3)),
        # It would give them in the order in which they came.
        ("3.2.1", range(40), (0, 40)),
    ],
    ids=["many", "many and a null", "few", "older"],
)
async def test_many_map_indexes_of_a_run_that_has_ended(
    airflow: FakeAirflow, gateway: Gateway, values: list[Any], asked: tuple[int, int]
) -> None:
    """One request reads them all, where it says which is which."""
    finished = [steps.finish("predict", v, map_index=i) for i, v in enumerate(values)]
    script = [steps.expand("predict", len(values)), *reversed(finished), steps.end()]
    dag = airflow.add(Dag("dag", MAPPED, tags=["result:predict"], script=script))
    await _call(gateway)
    airflow.asked.clear()

    response = await gateway.stub.Wait(
        pb.WaitRequest(dag_id="dag", run_id=dag.made[0].run_id), timeout=10
    )

    assert MessageToDict(response.result) == {"return_value": [*values]}
    assert (airflow.count(Kind.WAIT), airflow.count(Kind.VALUE)) == asked


async def test_a_large_conf(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Of nearly the size that a request may have, it arrives as it was."""
    airflow.add(Dag("dag", script=[lambda run: run.finish("predict", len((run.conf or {})["x"]))]))
    sent = pb.InvokeRequest(dag_id="dag", conf_json=json.dumps({"x": "y" * 4_000_000}))

    answer = await gateway.stub.Invoke(sent, timeout=20)

    assert MessageToDict(answer.result) == {"return_value": 4_000_000}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(SAFE - 2, SAFE + 2)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=st.lists(json_values, min_size=1, max_size=20))
async def test_any_json_value_comes_back(
    airflow: FakeAirflow, gateway: Gateway, values: list[Any]
) -> None:
    """As it was in JSON; in a Struct by the number rule, and by its kind."""
    airflow.add(returning(*values))
    numbers = range(len(values))

    structs = await asyncio.gather(
        *(gateway.stub.Invoke(request(number), timeout=30) for number in numbers)
    )
    texts = await asyncio.gather(
        *(gateway.stub.Invoke(request(number, "JSON"), timeout=30) for number in numbers)
    )

    for value, struct, text in zip(values, structs, texts, strict=True):
        assert same(json.loads(text.result_json), value)
        is_object = struct.result_kind == pb.RESULT_KIND_OBJECT
        assert is_object == isinstance(value, dict)
        document = value if is_object else {"return_value": value}
        assert same(MessageToDict(struct.result), by_number_rule(document))


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, of the same types."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def by_number_rule(value: Any) -> Any:
    """What the contract says that a value becomes in a Struct, as `MessageToDict` shows it."""
    match value:
        case bool() | None | str():
            return value
        case int() if abs(value) > SAFE:
            return str(value)
        case int() | float():
            return float(value)
        case list():
            return [by_number_rule(item) for item in value]
        case _:
            return {key: by_number_rule(item) for key, item in value.items()}


async def _call(gateway: Gateway) -> pb.InvokeResponse:
    return await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=10)


# Of a DAG whose file cannot be read it is known at the run's end which tasks are its results.


async def test_a_map_whose_run_names_it(airflow: FakeAirflow, gateway: Gateway) -> None:
    """`None` stays where it was in the map, though Airflow's `/wait` leaves it out."""
    tasks = Task("predict", ["last"], is_mapped=True, is_result=True), Task("last")
    dag = airflow.add(Dag("dag", *tasks, source=None))
    answer = asyncio.create_task(_call(gateway))
    run = await first_run(dag)
    run.expand("predict", 3)
    for index, value in ((2, 3), (0, 1), (1, None)):
        run.finish("predict", value, index)
    run.finish("last")
    run.end("success")

    assert MessageToDict((await answer).result) == {"return_value": [1, None, 3]}


@pytest.mark.parametrize("settings", [{"max_map_indexes": 2}])
async def test_a_map_whose_run_names_it_has_a_limit(airflow: FakeAirflow, gateway: Gateway) -> None:
    """As any other."""
    script = [steps.expand("predict", 3), *(steps.finish("predict", n, n) for n in range(3))]
    tasks = Task("predict", ["last"], is_mapped=True, is_result=True), Task("last")
    airflow.add(
        Dag("dag", *tasks, source=None, script=[*script, steps.finish("last"), steps.end()])
    )

    failed = await failure(gateway.stub.Invoke(request(), timeout=5))

    assert failed.reason == "RESULT_TOO_MANY_MAP_INDEXES"


async def test_what_a_run_left_before_it_was_cleared(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """A result that was skipped is none, though a value of an earlier time is still stored."""
    tasks = Task("predict", ["last"], is_result=True), Task("last", trigger_rule="all_done")
    dag = airflow.add(Dag("dag", *tasks, source=None))
    call = gateway.stub.Invoke(request(), timeout=10)
    run = await first_run(dag)
    run.finish("predict", "of the time before")
    run.set_state("predict", "skipped")
    run.finish("last")
    run.end("success")

    assert (await failure(call)).reason == "RESULT_SKIPPED"


async def test_a_map_that_became_shorter(airflow: FakeAirflow, gateway: Gateway) -> None:
    """What is left of an index that is gone takes nobody's place."""
    dag = airflow.add(Dag("dag", MAPPED))
    run = dag.trigger(ours("1"), {})
    run.expand("predict", 7)
    for index in range(7):
        run.finish("predict", None if index == 2 else index, index)
    run.set_state("predict", "removed", 6)
    run.end("success")

    response = await gateway.stub.Wait(pb.WaitRequest(dag_id="dag", run_id=run.run_id), timeout=5)

    assert MessageToDict(response.result) == {"return_value": [0, 1, None, 3, 4, 5]}
