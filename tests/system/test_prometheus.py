"""What a real Prometheus makes of the metrics, the alert rules, and the board's queries."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Run, Task, steps
from integration.gateway import Gateway
from integration.scraping import get
from system.conftest import EXAMPLES, Prometheus
from system.picture import draw

RULES = EXAMPLES / "prometheus" / "rules.yml"
RULE_TESTS = EXAMPLES / "prometheus" / "rules_test.yml"
BOARD = EXAMPLES / "grafana" / "dag-inference.json"


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


def _board() -> dict[str, Any]:
    board: dict[str, Any] = json.loads(BOARD.read_text())
    return board


def of_the_board() -> Iterator[tuple[str, str]]:
    """Every query of the board, as Grafana sends it, by the title of its panel."""
    for panel in _board()["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "10s")
            yield panel["title"], re.sub(r"\$(job|dag_id)\b", ".*", query)


def of_the_rules() -> Iterator[tuple[str, str]]:
    """Every query of the rules by its name; one that compares tells the outcome of it instead."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], re.sub(r" (==|>) ", r" \1 bool ", rule["expr"])


_PICTURED = 60
"""Seconds that the picture for the docs shows."""

QUERIES = [*of_the_board(), *of_the_rules()]


def test_the_rules_are_right() -> None:
    """Each alert fires where it should, and is silent where it should, by promtool."""
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(RULE_TESTS))


def test_every_alert_is_tested_both_ways() -> None:
    """Once where it fires, once where it does not."""
    cases = [
        case
        for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts()
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts()


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
    missing = dict(QUERIES)
    async with _load(airflow, gateway), asyncio.timeout(120):
        while missing:
            for name, query in QUERIES:
                found = await prometheus.query(query)
                if any(not math.isnan(value) for _, value in found):
                    missing.pop(name, None)
            await asyncio.sleep(0.2)

        if path := os.environ.get("BOARD_PICTURE"):
            await asyncio.sleep(_PICTURED)
            await draw(prometheus, _board(), Path(path), _PICTURED)

    (target,) = await prometheus.targets()
    assert (target["health"], target["lastError"]) == ("up", "")
    (stage,) = await prometheus.query(
        'count(count by (stage) (dag_inference_stage_seconds_count{dag_id="ok"}))'
    )
    assert stage[1] == 8
    exemplars = await prometheus.exemplars("dag_inference_time_to_result_seconds_bucket")
    assert any(exemplar["labels"]["run_id"].startswith("grpc-") for exemplar in exemplars)


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
    stub = gateway.stub

    async def call(dag_id: str, timeout: float) -> None:
        with suppress(grpc.aio.AioRpcError):
            await stub.Invoke(pb.InvokeRequest(dag_id=dag_id), timeout=timeout)

    async def stream() -> None:
        with suppress(grpc.aio.AioRpcError):
            async for _ in stub.InvokeStream(pb.InvokeRequest(dag_id="ok"), timeout=5):
                pass

    parked = (call("parked", 0.5) for _ in range(25))
    await asyncio.gather(call("ok", 5), call("fails", 5), call("early", 5), stream(), *parked)
