"""What there is to call, in Python and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from dag_inference import (
    AsyncDagInferenceClient,
    Dag,
    DagAvailability,
    DagInferenceClient,
    ResultRule,
    cli,
)
from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    import grpc

Serve = Callable[..., str]

EVIL = "\x1b[31m\u202e"


def greet() -> pb.Dag:
    """A DAG with everything."""
    dag = pb.Dag(
        dag_id="greet",
        display_name="Greet",
        description=f"Greets.{EVIL}",
        documentation="# Greeting\n\nIt greets.",
        tags=["team"],
        result_task_ids=["greet"],
        result_rule=pb.RESULT_RULE_TAG,
        availability=pb.DAG_AVAILABILITY_PAUSED,
        availability_detail="greet is paused in Airflow",
        max_active_runs=16,
        active_runs=2,
        dag_version=3,
    )
    dag.params_schema.update(
        {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "description": f"Who.{EVIL}"},
                "times": {"type": ["null", "integer"], "default": 1},
            },
        }
    )
    dag.example.dag_id = "greet"
    dag.example.conf.update({"name": "it's", "times": 1})
    return dag


EXPECTED = Dag(
    dag_id="greet",
    display_name="Greet",
    description=f"Greets.{EVIL}",
    documentation="# Greeting\n\nIt greets.",
    tags=("team",),
    params_schema={
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "description": f"Who.{EVIL}"},
            "times": {"type": ["null", "integer"], "default": 1},
        },
    },
    result_task_ids=("greet",),
    result_rule=ResultRule.TAG,
    availability=DagAvailability.PAUSED,
    availability_detail="greet is paused in Airflow",
    max_active_runs=16,
    active_runs=2,
    dag_version=3,
    example={"name": "it's", "times": 1},
)


def pages(request: pb.ListDagsRequest, context: grpc.ServicerContext) -> pb.ListDagsResponse:
    """Three pages, the second of which is empty."""
    following = {"": ("b", "1"), "1": ("", "2"), "2": ("c", "")}
    dag_id, token = following[request.page_token]
    tagged = pb.Dag(dag_id=dag_id, tags=request.tags, availability=pb.DAG_AVAILABILITY_READY)
    return pb.ListDagsResponse(dags=[tagged] if dag_id else [], next_page_token=token)


def describe(request: pb.DescribeDagRequest, context: grpc.ServicerContext) -> Any:
    """Only that one."""
    assert request.dag_id == "greet"
    return pb.DescribeDagResponse(dag=greet())


async def test_dags_goes_through_all_pages(serve: Serve) -> None:
    """In both clients, with the tags on every one."""
    target = serve(ListDags=pages)

    with DagInferenceClient(target) as client:
        found = [(dag.dag_id, dag.tags) for dag in client.dags(tags=["x"])]
    async with AsyncDagInferenceClient(target) as aio:
        assert [(dag.dag_id, dag.tags) async for dag in aio.dags(tags=["x"])] == found

    assert found == [("b", ("x",)), ("c", ("x",))]


async def test_describe_tells_all(serve: Serve) -> None:
    """As plain Python."""
    target = serve(DescribeDag=describe)

    with DagInferenceClient(target) as client:
        assert client.describe("greet") == EXPECTED
    async with AsyncDagInferenceClient(target) as aio:
        assert await aio.describe("greet") == EXPECTED


def test_an_example_with_large_integers(serve: Serve) -> None:
    """Comes as text, because a Struct would round them, and is the same to the caller."""

    def large(request: pb.DescribeDagRequest, context: grpc.ServicerContext) -> Any:
        dag = greet()
        dag.example.conf_json = '{"n": 9007199254740993}'
        return pb.DescribeDagResponse(dag=dag)

    with DagInferenceClient(serve(DescribeDag=large)) as client:
        assert client.describe("greet").example == {"n": 2**53 + 1}


def test_tags_are_no_text(serve: Serve) -> None:
    """A str is a sequence of letters, which nobody means."""
    with (
        DagInferenceClient(serve(ListDags=pages)) as client,
        pytest.raises(TypeError, match="not the str 'team'"),
    ):
        next(client.dags(tags="team"))


def run(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(cli.app, list(arguments))


def test_a_line_for_each_dag(serve: Serve) -> None:
    """With its availability; nothing is cut off in a pipe."""

    def two(request: object, context: object) -> pb.ListDagsResponse:
        long = pb.Dag(
            dag_id="x" * 250, description="why " * 50, availability=pb.DAG_AVAILABILITY_READY
        )
        return pb.ListDagsResponse(dags=[greet(), long])

    ended = run("dags", "-t", serve(ListDags=two))

    assert ended.exit_code == 0
    first, second = ended.stdout.splitlines()
    assert first.rstrip().split(maxsplit=2) == ["greet", "paused", "greet is paused in Airflow"]
    assert second.split(maxsplit=2)[:2] == ["x" * 250, "ready"]
    assert "why why" in second


def test_no_dags(serve: Serve) -> None:
    """Nothing on stdout, and a sentence on stderr."""
    ended = run("dags", "-t", serve(ListDags=lambda request, context: pb.ListDagsResponse()))

    assert (ended.exit_code, ended.stdout) == (0, "")
    assert ended.stderr == "The gateway serves no such DAGs.\n"


def test_dags_as_json(serve: Serve) -> None:
    """A list, of what a listing tells."""
    ended = run("dags", "--json", "--tag", "x", "-t", serve(ListDags=pages))

    assert [(dag["dag_id"], dag["tags"]) for dag in json.loads(ended.stdout)] == [
        ("b", ["x"]),
        ("c", ["x"]),
    ]


def test_a_dag_on_a_page(serve: Serve) -> None:
    """What it takes, gives and does, and a command to begin with; no control characters."""
    target = serve(DescribeDag=describe)

    ended = run("describe", "greet", "-t", target)

    assert ended.exit_code == 0
    shown = " ".join(ended.stdout.split())
    for part in (
        "greet paused",
        "greet is paused in Airflow",
        "about Greets.",
        "result greet (by its tag)",
        "runs 2 of 16 queued or running",
        "name string required Who.",
        "times null, integer 1",
        "# Greeting It greets.",
        f"dag-inference invoke greet --target {target} --conf",
    ):
        assert part in shown
    assert "\x1b" not in ended.stdout
    assert "\u202e" not in ended.stdout


def test_a_dag_whose_params_cannot_be_told(serve: Serve) -> None:
    """That is said: a DAG without params looks otherwise."""

    def describe_odd(request: Any, context: Any) -> Any:
        response = describe(request, context)
        response.dag.ClearField("params_schema")
        return response

    ended = run("describe", "greet", "-t", serve(DescribeDag=describe_odd))

    assert "Params not told exactly" in " ".join(ended.stdout.split())


def test_a_dag_as_json(serve: Serve) -> None:
    """All of it."""
    ended = run("describe", "greet", "--json", "-t", serve(DescribeDag=describe))

    told = json.loads(ended.stdout)
    assert told["params_schema"] == EXPECTED.params_schema
    assert (told["availability"], told["example"]) == ("paused", EXPECTED.example)
