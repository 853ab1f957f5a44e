"""What there is to call, and how: `ListDags` and `DescribeDag`."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults, steps
from integration.gateway import Gateway
from integration.statuses import failure, failure_of_ours

PARAMS: dict[str, dict[str, Any]] = {
    "name": {"schema": {"type": "string", "minLength": 6}, "description": "Who is greeted."},
    "times": {"schema": {"type": "integer", "minimum": 1}, "value": 2},
    "loud": {"schema": {"type": ["null", "boolean"]}},
    "style": {"schema": {"enum": ["warm", "cold"]}},
}


async def listing(gateway: Gateway, **wish: Any) -> tuple[list[str], str]:
    """The ids on a page, and the token of the next."""
    page = await gateway.stub.ListDags(pb.ListDagsRequest(**wish), timeout=5)
    return [dag.dag_id for dag in page.dags], page.next_page_token


async def all_pages(gateway: Gateway, **wish: Any) -> list[list[str]]:
    """The ids on every page."""
    ids, token = await listing(gateway, **wish)
    pages = [ids]
    while token:
        ids, token = await listing(gateway, page_token=token, **wish)
        pages.append(ids)
    return pages


# ListDags


async def test_each_dag_says_whether_it_can_be_called(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """Paused and broken ones are there, with the reason; what only `DescribeDag` tells is not."""
    airflow.add(Dag("ready", description="Greets.", tags=["b", "a"], params=PARAMS))
    airflow.add(Dag("paused", is_paused=True))
    # A broken file takes its DAGs with it.
    airflow.add(Dag("broken", has_import_errors=True, is_stale=True))
    airflow.add(Dag("scheduled", allowed_run_types=["scheduled"]))
    airflow.add(Dag("gone", is_stale=True))

    page = await gateway.stub.ListDags(pb.ListDagsRequest(), timeout=5)

    told = {dag.dag_id: pb.DagAvailability.Name(dag.availability)[17:] for dag in page.dags}
    assert told == {
        "broken": "BROKEN",
        "paused": "PAUSED",
        "ready": "READY",
        "scheduled": "NOT_TRIGGERABLE",
    }
    assert [bool(dag.availability_detail) for dag in page.dags] == [True, True, False, True]
    assert MessageToDict(page.dags[2], preserving_proto_field_name=True) == {
        "dag_id": "ready",
        "display_name": "ready",
        "description": "Greets.",
        "tags": ["a", "b"],
        "availability": "DAG_AVAILABILITY_READY",
        "max_active_runs": 16,
    }
    assert page.next_page_token == ""


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_every_dag_is_on_one_page(airflow: FakeAirflow, gateway: Gateway, size: int) -> None:
    """In the order of their ids, with as many on a page as were asked for."""
    ids = [f"dag-{number:03}" for number in range(105)]
    for dag_id in ids:
        airflow.add(Dag(dag_id))

    pages = await all_pages(gateway, page_size=size)

    assert [dag_id for page in pages for dag_id in page] == ids
    assert {len(page) for page in pages[:-1]} == {size}


async def test_dags_that_come_and_go_between_two_pages(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """None of the others is told twice or left out."""
    dags = [airflow.add(Dag(f"dag-{number}")) for number in range(6)]
    first, token = await listing(gateway, page_size=3)
    dags[0].is_stale = True
    second, token = await listing(gateway, page_size=1, page_token=token)
    airflow.add(Dag("a-new-one"))
    airflow.add(Dag("another-new-one"))
    third, _ = await listing(gateway, page_token=token)

    assert (first, second, third) == (["dag-0", "dag-1", "dag-2"], ["dag-3"], ["dag-4", "dag-5"])


@pytest.mark.parametrize("gone", [["dag-2"], ["dag-0", "dag-1", "dag-2"]], ids=len)
async def test_the_last_of_a_page_is_gone(
    airflow: FakeAirflow, gateway: Gateway, gone: list[str]
) -> None:
    """The next page goes on behind where it was."""
    for number in range(6):
        airflow.add(Dag(f"dag-{number}"))
    _, token = await listing(gateway, page_size=3)
    for dag_id in gone:
        airflow.remove(dag_id)

    following, _ = await listing(gateway, page_token=token)

    assert following == ["dag-3", "dag-4", "dag-5"]


@pytest.mark.parametrize("settings", [{"dags": ("mine-*",)}])
async def test_only_what_is_served(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Of Airflow's DAGs those of the allow-list, in as few pages as that takes."""
    for number in range(150):
        airflow.add(Dag(f"other-{number}"))
    airflow.add(Dag("mine-1"))
    airflow.add(Dag("your-1"))
    airflow.add(Dag("mine-2"))

    assert await all_pages(gateway) == [["mine-1", "mine-2"]]


@pytest.mark.parametrize("settings", [{"dags": ("z-mine",)}])
async def test_a_page_asks_airflow_so_often_and_no_more(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """Where nearly nothing is served, a page may be empty, and the next one goes on."""
    await gateway.ready()
    for number in range(1001):
        airflow.add(Dag(f"other-{number:04}"))
    airflow.add(Dag("z-mine"))
    airflow.asked.clear()

    first, token = await listing(gateway)

    assert (first, airflow.count(Kind.DAGS)) == ([], 10)
    assert await listing(gateway, page_token=token) == (["z-mine"], "")


async def test_dags_with_all_of_the_tags(airflow: FakeAirflow, gateway: Gateway) -> None:
    """In whichever order they are asked for, also from page to page."""
    for number in range(3):
        airflow.add(Dag(f"both-{number}", tags=["x", "y"]))
    airflow.add(Dag("one", tags=["x"]))

    ids, token = await listing(gateway, tags=["x", "y"], page_size=2)
    more, _ = await listing(gateway, tags=["y", "x"], page_size=2, page_token=token)

    assert (ids, more) == (["both-0", "both-1"], ["both-2"])


def token_of(*parts: Any) -> str:
    """A token made by hand."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_size": 101}, "page_size"),
        ({"tags": [""]}, "tags"),
        ({"tags": ["a\0"]}, "tags"),
        ({"tags": [str(n) for n in range(33)]}, "tags"),
        ({"page_token": "x"}, "page_token"),
        ({"page_token": "é"}, "page_token"),
        ({"page_token": base64.b64encode(b"[").decode()}, "page_token"),
        ({"page_token": base64.b64encode(b"\xff").decode()}, "page_token"),
        ({"page_token": base64.b64encode(b"[" * 5000).decode()}, "page_token"),
        ({"page_token": token_of(-1, "a")}, "page_token"),
        ({"page_token": token_of(2**40, "a")}, "page_token"),
        ({"page_token": token_of("1", "a")}, "page_token"),
        ({"page_token": token_of(1, "a", "other")}, "page_token"),
        ({"page_token": token_of(1, "a"), "tags": ["x"]}, "page_token"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_malformed_wish(
    airflow: FakeAirflow, gateway: Gateway, wish: dict[str, Any], field: str
) -> None:
    """Is refused by the name of its field, before Airflow is asked."""
    await gateway.ready()
    airflow.asked.clear()

    failed = await failure(gateway.stub.ListDags(pb.ListDagsRequest(**wish)))

    assert (failed.code, failed.reason) == (StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert failed.violations == [field]
    assert airflow.count(Kind.DAGS) == 0


# DescribeDag


async def test_all_of_a_dag(airflow: FakeAirflow, gateway: Gateway) -> None:
    """What it takes, what it gives, whether it runs, and a request to begin with."""
    dag = airflow.add(
        Dag(
            "greet",
            description="Greets.",
            doc_md="# Greeting",
            tags=["result:predict"],
            params=PARAMS,
        )
    )
    queued, running, ended = (dag.trigger(f"run-{number}", {}) for number in range(3))
    running.start()
    ended.end("success")
    assert (queued.state, running.state, ended.state) == ("queued", "running", "success")

    answer = await gateway.stub.DescribeDag(pb.DescribeDagRequest(dag_id="greet"), timeout=5)

    assert MessageToDict(answer.dag, preserving_proto_field_name=True) == {
        "dag_id": "greet",
        "display_name": "greet",
        "description": "Greets.",
        "documentation": "# Greeting",
        "tags": ["result:predict"],
        "params_schema": {
            "type": "object",
            "required": ["name", "style"],
            "properties": {
                "name": {"type": "string", "minLength": 6, "description": "Who is greeted."},
                "times": {"type": "integer", "minimum": 1, "default": 2},
                "loud": {"type": ["null", "boolean"]},
                "style": {"enum": ["warm", "cold"]},
            },
        },
        "result_task_ids": ["predict"],
        "result_rule": "RESULT_RULE_TAG",
        "availability": "DAG_AVAILABILITY_READY",
        "max_active_runs": 16,
        "active_runs": 2,
        "dag_version": 1,
        "example": {
            "dag_id": "greet",
            "conf": {"name": "textxx", "times": 2, "loud": None, "style": "warm"},
        },
    }


async def test_the_example_works(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It can be sent as it is."""
    airflow.add(Dag("greet", params=PARAMS, script=[steps.finish("predict", "hello")]))
    description = await gateway.stub.DescribeDag(pb.DescribeDagRequest(dag_id="greet"), timeout=5)

    answer = await gateway.stub.Invoke(description.dag.example, timeout=5)

    assert MessageToDict(answer.result) == {"return_value": "hello"}


async def test_integers_that_a_struct_cannot_hold(airflow: FakeAirflow, gateway: Gateway) -> None:
    """The example is JSON text then, and the schema is left out rather than told wrongly."""
    large = {"n": {"value": 2**53 + 1, "schema": {"type": "integer", "maximum": 2**63 - 1}}}
    airflow.add(Dag("dag", params=large, script=[steps.finish("predict", 1)]))

    dag = (await gateway.stub.DescribeDag(pb.DescribeDagRequest(dag_id="dag"), timeout=5)).dag

    assert not dag.HasField("params_schema")
    assert json.loads(dag.example.conf_json) == {"n": 2**53 + 1}
    await gateway.stub.Invoke(dag.example, timeout=5)


@pytest.mark.parametrize("settings", [{"max_result_bytes": 4096}])
async def test_a_long_documentation(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is cut, so that the answer is no larger than any other."""
    airflow.add(Dag("dag", doc_md="ß" * 10_000, params=PARAMS))

    answer = await gateway.stub.DescribeDag(pb.DescribeDagRequest(dag_id="dag"), timeout=5)

    assert 4000 < answer.ByteSize() <= 4096
    assert answer.dag.documentation.endswith("ß…")
    assert answer.dag.HasField("params_schema")


@pytest.mark.parametrize(
    ("dag", "told", "says"),
    [
        (Dag("dag", is_paused=True), ("PAUSED", "LEAF"), "is paused in Airflow"),
        (Dag("dag", has_import_errors=True), ("BROKEN", "LEAF"), "has import errors"),
        (Dag("dag", is_stale=True), ("BROKEN", "LEAF"), "no longer finds"),
        (Dag("dag", allowed_run_types=["backfill"]), ("NOT_TRIGGERABLE", "LEAF"), "manual runs"),
        (Dag("dag", tags=["result:predcit"]), ("BROKEN", "TAG"), "predcit"),
        (Dag("dag", source=None), ("READY", "RUN_END"), ""),
        (Dag("dag", Task("a"), Task("b")), ("READY", "NONE"), ""),
    ],
    ids=["paused", "broken", "gone", "not triggerable", "tag", "unread", "none"],
)
async def test_what_cannot_be_called_is_described_all_the_same(
    airflow: FakeAirflow, gateway: Gateway, dag: Dag, told: tuple[str, str], says: str
) -> None:
    """With the reason, in a sentence."""
    airflow.add(dag)

    answer = await gateway.stub.DescribeDag(pb.DescribeDagRequest(dag_id="dag"), timeout=5)

    availability = pb.DagAvailability.Name(answer.dag.availability)
    rule = pb.ResultRule.Name(answer.dag.result_rule)
    assert (availability[17:], rule[12:]) == told
    assert says in answer.dag.availability_detail
    assert bool(answer.dag.availability_detail) == (told[0] != "READY")


@pytest.mark.parametrize(
    ("dag_id", "code", "reason"),
    [
        ("", StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"),
        ("../x", StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"),
        ("nowhere", StatusCode.NOT_FOUND, "DAG_NOT_FOUND"),
        ("secret", StatusCode.PERMISSION_DENIED, "DAG_NOT_ALLOWED"),
    ],
)
@pytest.mark.parametrize("settings", [{"dags": ("dag", "nowhere")}])
async def test_a_dag_that_cannot_be_described(
    airflow: FakeAirflow, gateway: Gateway, dag_id: str, code: StatusCode, reason: str
) -> None:
    """As a call of it would be refused."""
    airflow.add(Dag("secret"))

    failed = await failure(gateway.stub.DescribeDag(pb.DescribeDagRequest(dag_id=dag_id)))

    assert (failed.code, failed.reason) == (code, reason)


# Both


def list_dags(gateway: Gateway, timeout: float) -> Any:
    return gateway.stub.ListDags(pb.ListDagsRequest(), timeout=timeout)


def describe_dag(gateway: Gateway, timeout: float) -> Any:
    return gateway.stub.DescribeDag(pb.DescribeDagRequest(dag_id="dag"), timeout=timeout)


ASKING = pytest.mark.parametrize("ask", [list_dags, describe_dag])


@ASKING
async def test_airflow_refuses_the_account(
    airflow: FakeAirflow, gateway: Gateway, ask: Any
) -> None:
    """The operator has to mend it."""
    airflow.add(Dag("dag"))
    for kind in (Kind.DAGS, Kind.DAG):
        airflow.faults.add(faults.refused(403), kind)

    failed = await failure(ask(gateway, 5))

    assert (failed.code, failed.reason) == (StatusCode.FAILED_PRECONDITION, "AIRFLOW_DENIED")


@ASKING
async def test_airflow_is_away(airflow: FakeAirflow, gateway: Gateway, ask: Any) -> None:
    """The caller may come back."""
    airflow.add(Dag("dag"))
    await gateway.ready()
    await airflow.stop()

    failed = await failure(ask(gateway, 20))

    assert (failed.code, failed.reason) == (StatusCode.UNAVAILABLE, "AIRFLOW_UNAVAILABLE")
    assert failed.retry_after is not None


@ASKING
async def test_airflow_does_not_answer_in_time(
    airflow: FakeAirflow, gateway: Gateway, ask: Any
) -> None:
    """The answer comes before the caller's own clock rings."""
    airflow.add(Dag("dag"))
    await gateway.ready()
    for kind in (Kind.DAGS, Kind.DAG):
        airflow.faults.add(faults.hanging(), kind)

    failed = await failure_of_ours(lambda: ask(gateway, 2))

    assert (failed.code, failed.reason) == (StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_the_client_reads_page_after_page(airflow: FakeAirflow, gateway: Gateway) -> None:
    """`dags` gives all of them, `describe` one."""
    for number in range(120):
        airflow.add(Dag(f"dag-{number:03}", params=PARAMS))

    dags, described = await asyncio.gather(_all(gateway), gateway.client.describe("dag-007"))

    assert [dag.dag_id for dag in dags] == [f"dag-{number:03}" for number in range(120)]
    assert described.params_schema["properties"]["times"]["default"] == 2
    assert described.example == {"name": "textxx", "times": 2, "loud": None, "style": "warm"}


async def _all(gateway: Gateway) -> list[Any]:
    return [dag async for dag in gateway.client.dags()]
