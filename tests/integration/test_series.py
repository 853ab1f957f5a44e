"""Which series there are, and what they can tell: whatever is called, however often."""

from __future__ import annotations

import asyncio
import math
import re
from pathlib import Path

import pytest

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.metrics.buckets import BUCKETS
from fakes.airflow import Dag, FakeAirflow, Task, faults, steps
from integration.gateway import Gateway
from integration.run_ids import ours
from integration.scraping import Scraped, get, scrape, scrape_until
from integration.statuses import failure
from integration.waiting import first_run


async def test_what_alerts_are_about_begins_with_zero(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """Of all calls together, and of each DAG from its first one on: the first error is a rise."""
    rules = Path(__file__).parents[2] / "examples" / "prometheus" / "rules.yml"
    (unserved,) = set(re.findall(r'outcome=~"([A-Z_|]+)"', rules.read_text()))
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    before = await scrape(gateway)
    await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
    after = await scrape(gateway)

    def outcomes(found: Scraped, dag_id: str) -> dict[str, float]:
        series = found.having("dag_inference_calls_total", dag_id=dag_id)
        return {sample.labels["outcome"]: sample.value for sample in series}

    zero = dict.fromkeys(unserved.split("|"), 0.0)
    assert outcomes(before, "other") == outcomes(after, "other") == {"OK": 0, **zero}
    assert outcomes(before, "dag") == {}
    assert outcomes(after, "dag") == {"OK": 1, **zero}


@pytest.mark.parametrize("settings", [{"dags": ("dag", "nowhere", "served-*")}], ids=[""])
async def test_names_that_are_made_up_make_no_series(
    airflow: FakeAirflow, gateway: Gateway
) -> None:
    """However many DAGs are asked for that do not exist; and no run id is ever a label."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
    for dag_id in ("nowhere", "not-served"):
        await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id=dag_id), timeout=5))
    await failure(gateway.stub.Wait(pb.WaitRequest(dag_id="dag", run_id=ours("1")), timeout=5))
    before = await scrape_until(gateway, lambda found: found.values_of("component"))
    # Of some of them Airflow is asked.
    names = [f"{'served' if number % 10 == 0 else 'made-up'}-{number}" for number in range(10_000)]

    for start in range(0, len(names), 500):
        calls = [
            gateway.stub.Invoke(pb.InvokeRequest(dag_id=name), timeout=20)
            for name in names[start : start + 500]
        ]
        await asyncio.gather(*(failure(call) for call in calls))
    after = await scrape(gateway)

    assert after.values_of("dag_id") == {"dag", "other"}
    assert after.series == before.series
    everything = {value for _, labels in after.series for _, value in labels}
    assert not any(value.startswith(("grpc-", "made-up", "served-")) for value in everything)


async def test_runs_that_are_made_up_make_no_series(airflow: FakeAirflow, gateway: Gateway) -> None:
    """A run id proves nothing, neither while Airflow is asked about it nor when it has not told."""
    await gateway.ready()
    airflow.faults.add(faults.hanging())
    calls = [
        gateway.stub.Wait(pb.WaitRequest(dag_id=f"made-up-{number}", run_id=ours("1")), timeout=5)
        for number in range(20)
    ]
    during = await scrape_until(gateway, lambda found: found("dag_inference_calls_in_flight") == 20)
    failures = await asyncio.gather(*(failure(call) for call in calls))
    after = await scrape(gateway)

    assert {failed.reason for failed in failures} == {"DEADLINE_EXCEEDED"}
    assert all("run_id" in failed.metadata for failed in failures)
    assert during("dag_inference_calls_in_flight", dag_id="other") == 20
    assert during.values_of("dag_id") == after.values_of("dag_id") == {"other"}


async def test_every_family_is_explained(gateway: Gateway) -> None:
    """The operator's page tells of those that there are, and of no others."""
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    table = page.read_text().partition("| Family |")[2].partition("\n\n")[0]
    explained = re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[1:]))

    _, _, text = await get(gateway, "/metrics")

    assert sorted(explained) == sorted(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))


async def test_what_quantiles_are_read_off(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Every histogram has the one scale."""
    early = Dag("early", Task("predict", downstream=["clean"]), Task("clean"))
    airflow.add(early)
    airflow.add(Dag("parked"))
    parked = gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=20)
    request = pb.InvokeRequest(dag_id="early", result_task_ids=["predict"])
    answer = gateway.stub.Invoke(request, timeout=20)
    run = await first_run(early)
    run.finish("predict", 1)
    await answer
    run.end("success")
    found = await scrape_until(
        gateway, lambda found: found("dag_inference_time_saved_seconds_count")
    )
    parked.cancel()

    scales = {
        name: sorted({float(s.labels["le"]) for s in found.having(f"{name}_bucket")})
        for name, family in found.families.items()
        if family.type == "histogram"
    }
    ours = ("stage", "time_to_result", "time_saved", "airflow_request", "watcher_lag")
    assert {*scales} == {
        "grpc_server_handling_seconds",
        *(f"dag_inference_{name}_seconds" for name in ours),
    }
    for name, scale in scales.items():
        assert tuple(scale) == (*BUCKETS, math.inf), name
