"""What a real Prometheus makes of the metrics, the alert rules, and the board's queries."""

from __future__ import annotations

import asyncio
import math
import os
import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import yaml

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Run, Task, steps
from integration import inference
from integration.gateway import Gateway
from integration.scraping import get
from system.board import sent, targets, variables
from system.conftest import EXAMPLES, Prometheus
from system.picture import draw

RULES = EXAMPLES / "prometheus" / "rules.yml"
RULE_TESTS = EXAMPLES / "prometheus" / "rules_test.yml"


def promtool(*arguments: str, stdin: str = "") -> str:
    """What promtool says; it must not complain."""
    ran = subprocess.run(
        ["promtool", *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def rules() -> Iterator[dict[str, Any]]:
    """Every rule."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from group["rules"]


def alerts() -> set[str]:
    """The names of all alerts."""
    return {rule["alert"] for rule in rules() if "alert" in rule}


def of_the_board() -> Iterator[tuple[str, str]]:
    """Every query of the board by the title of its panel."""
    for title, target in targets():
        yield title, sent(target)


def of_the_rules() -> Iterator[tuple[str, str]]:
    """Every query of the rules by its name, and each side of an `or` for itself.

    One that compares tells the outcome of it instead.
    """
    for rule in rules():
        for query in re.split(r"\bor on \(\w+\)", rule["expr"]):
            yield rule.get("alert") or rule["record"], re.sub(r" (==|>) ", r" \1 bool ", query)


_PICTURED = 60
"""Seconds that the picture for the docs shows."""

QUERIES = [*of_the_board(), *of_the_rules()]


def test_the_rules_are_right() -> None:
    """Each alert fires where it should, and is silent where it should, by promtool."""
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(RULE_TESTS))


def test_every_alert_is_tested_both_ways() -> None:
    """Once where it fires, once where it does not."""
    cases = [case for test in _rule_tests() for case in test.get("alert_rule_test", ())]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts()
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts()


def test_every_recording_rule_is_tested() -> None:
    """Itself, and not only by the alerts that are made of it."""
    tested = [case["expr"] for test in _rule_tests() for case in test.get("promql_expr_test", ())]
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert {name for name in recorded if any(f"({name}," in expr for expr in tested)} == recorded


def _rule_tests() -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    return tests


def test_every_alert_is_explained() -> None:
    """The operator's page says what to do about it."""
    page = (EXAMPLES.parent / "docs" / "operations.md").read_text()
    assert {name for name in alerts() if f"`{name}`" in page} == alerts()


async def test_the_metrics_are_as_they_should_be(airflow: FakeAirflow, gateway: Gateway) -> None:
    """By promtool's own rules of names, types and help, after calls of every kind."""
    async with _load(airflow, gateway):
        await _some_calls(gateway)
        _, _, text = await get(gateway, "/metrics")

    assert promtool("check", "metrics", stdin=text) == ""


@pytest.mark.timeout(180)
async def test_every_query_finds_data(
    airflow: FakeAirflow, gateway: Gateway, prometheus: Prometheus
) -> None:
    """Those of the board and of the rules, after a while of calls of every kind."""
    missing = {*QUERIES}
    async with _load(airflow, gateway):
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                while missing:
                    for name, query in [*missing]:
                        found = await prometheus.query(query)
                        if any(not math.isnan(value) for _, value in found):
                            missing.remove((name, query))
                    await asyncio.sleep(0.2)
        assert not missing
        (target,) = await prometheus.targets()
        assert (target["health"], target["lastError"]) == ("up", "")
        for family, label in variables():
            assert await prometheus.values(label, family), (family, label)
        (stage,) = await prometheus.query(
            'count(count by (stage) (dag_inference_stage_seconds_count{dag_id="ok"}))'
        )
        assert stage[1] == 8

        if path := os.environ.get("BOARD_PICTURE"):
            await asyncio.sleep(_PICTURED)
            await draw(prometheus, Path(path), _PICTURED)


async def test_both_services_are_on_the_board(
    airflow: FakeAirflow, gateway: Gateway, prometheus: Prometheus
) -> None:
    """Calls, errors and times of each, by method."""
    called = {"Invoke", "InvokeStream", "ModelInfer", "ModelStreamInfer"}
    shown = [
        ("Calls a second, by method", called),
        ("Errors a second, by method and code", {"Invoke", "ModelInfer"}),
        ("Duration of calls, by method", called),
    ]

    async def are_there(query: str, methods: set[str]) -> bool:
        found = await prometheus.query(query)
        return methods <= {labels["grpc_method"] for labels, value in found if value > 0}

    async with _load(airflow, gateway):
        for title, methods in shown:
            for query in (query for name, query in of_the_board() if name == title):
                await _until(partial(are_there, query, methods))


async def test_every_family_arrives(
    airflow: FakeAirflow, gateway: Gateway, prometheus: Prometheus
) -> None:
    """Whatever the gateway shows has series on the Prometheus, after calls of every kind."""
    async with _load(airflow, gateway):
        _, _, text = await get(gateway, "/metrics")
        families = {
            f"{name}_count" if kind == "histogram" else name
            for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
        }

        async def all_are_there() -> bool:
            return families <= await prometheus.values("__name__")

        await _until(all_are_there)

    assert {"grpc_server_handled_total", "dag_inference_time_saved_seconds_count"} <= families


async def test_from_a_panel_to_a_run(
    airflow: FakeAirflow, gateway: Gateway, prometheus: Prometheus
) -> None:
    """Every panel that reads buckets with exemplars asks for them, and Prometheus has them."""
    of_runs, of_traces = "time_to_result_seconds_bucket", "stage_seconds_bucket"
    asking = [sent(target) for _, target in targets() if target.get("exemplar")]
    reading = [query for _, query in of_the_board() if of_runs in query or of_traces in query]
    assert asking == reading
    async with _load(airflow, gateway):
        for query in (query for query in asking if of_runs in query):
            exemplars = await _until(partial(prometheus.exemplars, query))
            assert all(each["labels"]["run_id"].startswith("grpc-") for each in exemplars)


T = TypeVar("T")


async def _until(look: Callable[[], Awaitable[T]]) -> T:
    """Look until there is something to see; gives it."""
    async with asyncio.timeout(60):
        while not (seen := await look()):  # noqa: ASYNC110 - a condition beyond a connection
            await asyncio.sleep(0.2)
        return seen


@asynccontextmanager
async def _load(airflow: FakeAirflow, gateway: Gateway) -> AsyncIterator[None]:
    """Calls of every kind, as long as the block lasts."""

    def later(run: Run) -> None:
        run.finish("predict", 1)
        asyncio.get_running_loop().call_later(0.3, run.end, "success")

    airflow.add(Dag("ok", script=[steps.finish("predict", 1), steps.end()]))
    airflow.add(Dag("fails", script=[steps.fail("predict")]))
    airflow.add(Dag("parked"))
    tasks = Task("predict", ["clean"]), Task("clean")
    airflow.add(Dag("early", *tasks, tags=["result:predict"], script=[later]))

    async def go_on() -> None:
        while True:
            await _some_calls(gateway)

    calls = asyncio.create_task(go_on())
    try:
        yield
    finally:
        calls.cancel()
        await asyncio.wait((calls,))


async def _some_calls(gateway: Gateway) -> None:
    """One of each kind, and more than there may be at once."""
    stub, models = gateway.stub, inference.stub(gateway)

    async def call(dag_id: str, timeout: float) -> None:
        with suppress(grpc.aio.AioRpcError):
            await stub.Invoke(pb.InvokeRequest(dag_id=dag_id), timeout=timeout)

    async def stream() -> None:
        with suppress(grpc.aio.AioRpcError):
            async for _ in stub.InvokeStream(pb.InvokeRequest(dag_id="ok"), timeout=5):
                pass

    async def infer(dag_id: str) -> None:
        with suppress(grpc.aio.AioRpcError):
            await models.ModelInfer(inference.infer(dag_id=dag_id), timeout=5)

    async def infer_stream() -> None:
        with suppress(grpc.aio.AioRpcError):
            async for _ in models.ModelStreamInfer(iter([inference.infer(dag_id="ok")]), timeout=5):
                pass

    parked = (call("parked", 0.5) for _ in range(25))
    ours = (call("ok", 5), call("fails", 5), call("early", 5), stream())
    await asyncio.gather(*ours, infer("ok"), infer("fails"), infer_stream(), *parked)
