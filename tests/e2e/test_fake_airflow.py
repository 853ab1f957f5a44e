"""The fake Airflow, which most tests are made with, answers as a real one does."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypeAlias

import httpx

from dag_inference_server.standalone.airflow import USER
from e2e.exchanges import ENDED, FIRST, THEN, Exchange
from e2e.harness import Standalone
from fakes.airflow import Dag, FakeAirflow, Task, steps

Shape: TypeAlias = Any
"""A JSON value with the names of types in the place of values."""

PAUSED = "same_paused"

SAME = Dag(
    "same",
    Task("numbers", ["work"]),
    Task("work", is_mapped=True),
    Task("breaks"),
    tags=["result:work"],
    description="One",
    doc_md="More",
    params={"n": {"value": 1, "schema": {"type": "integer", "minimum": 0}}},
    refuse=lambda conf: "Invalid input for param n: -1" if conf.get("n") == -1 else None,
    script=[
        steps.finish("numbers", [1, 2]),
        steps.expand("work", 2),
        steps.finish("work", {"doubled": 2}, 0),
        steps.finish("work", {"doubled": 4}, 1),
        steps.fail("breaks", raises=ValueError("no luck")),
        steps.end("failed"),
    ],
)
"""`dags/same.py`, by the fake's means."""


OTHERS = frozenset(
    {
        # What FastAPI repeats of a bad request, and its comments.
        "input",
        "ctx",
        # Of the operator, and the fake has none.
        "rendered_fields",
        "template_fields",
    }
)
"""Keys of which the values are not compared, nor whether they are there."""


def shape(value: Any, only: str = "") -> Shape:
    """The keys and types of a JSON value; of a list, what there is in it, once each.

    Of rows that are about DAGs, only those that both have.
    """
    match value:
        case dict():
            return {
                key: shape(inner, only) for key, inner in sorted(value.items()) if key not in OTHERS
            }
        case list():
            rows = [row for row in value if not isinstance(row, dict) or _counts(row, only)]
            shapes = {json.dumps(shape(inner)) for inner in rows}
            return [json.loads(each) for each in sorted(shapes)]
        case bool():
            return "boolean"
        case None:
            return "null"
        case str():
            return "string"
        case _:
            return "number"


def _counts(row: Any, only: str) -> bool:
    is_shared = row.get("dag_id", SAME.dag_id) in {SAME.dag_id, PAUSED}
    return is_shared and (not only or only in row)


def shape_of(answer: httpx.Response, only: str) -> Shape:
    """The status of an answer and the shape of its body: of JSON, or of lines of JSON."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if not answer.content:
        return answer.status_code, "nothing"
    if kind == "application/json":
        return answer.status_code, kind, shape(answer.json(), only)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    return answer.status_code, kind, shape(lines, only)


async def asked(url: str, username: str, password: str) -> list[Shape]:
    """What an Airflow answers to all of it."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        account = {"username": username, "password": password}
        token = (await client.post("/auth/token", json=account)).json()["access_token"]
        proofs = {"good": f"Bearer {token}", "bad": "Bearer x.y.z"}

        async def ask(one: Exchange) -> httpx.Response:
            headers = {"accept": one.accept, "content-type": "application/json"}
            if one.account in proofs:
                headers["authorization"] = proofs[one.account]
            body = one.body
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            return await client.request(
                one.method, one.path, params=dict(one.query), headers=headers, content=body
            )

        first = [shape_of(await ask(one), one.only) for one in FIRST]
        run = Exchange("GET", f"/api/v2/dags/same/dagRuns/{ENDED}")
        async with asyncio.timeout(120):
            while (await ask(run)).json()["end_date"] is None:  # noqa: ASYNC110 - it is elsewhere
                await asyncio.sleep(0.1)
        return first + [shape_of(await ask(one), one.only) for one in THEN]


async def test_the_same_answers(standalone: Standalone) -> None:
    """Each request that the gateway makes gets the same status, keys and types from both."""
    real = await asked(standalone.airflow_url, USER, standalone.password)
    fake = FakeAirflow(Dag("another"), SAME, Dag(PAUSED, Task("numbers"), is_paused=True))
    await fake.start()
    try:
        ours = await asked(fake.url, fake.accounts.username, fake.accounts.password)
    finally:
        await fake.stop()

    different = {
        str(one): (theirs, our)
        for one, theirs, our in zip([*FIRST, *THEN], real, ours, strict=True)
        if theirs != our
    }
    assert different == {}
