"""Exactly one run for each call on a real Airflow, whatever is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from dag_inference import (
    AirflowUnavailable,
    AsyncDagInferenceClient,
    DagInferenceError,
    DeadlineExceeded,
)
from e2e.harness import Standalone
from e2e.ui import AirflowUi
from fakes.airflow import faults
from fakes.airflow.proxy import FaultyProxy
from gateway_process import gateway_process

DAG = "echoes"

STORM = 60
"""Calls of the storm."""


def environment(standalone: Standalone, prefix: str, **others: str) -> dict[str, str]:
    """The environment of a gateway whose runs are none of the other tests'."""
    own = {"DAG_INFERENCE_RUN_ID_PREFIX": prefix, "DAG_INFERENCE_SHUTDOWN_GRACE": "0"}
    return {**standalone.account(), **own, **others}


def run_ids(ui: AirflowUi, prefix: str) -> list[str]:
    """The runs of the gateways with a prefix."""
    found = [run["dag_run_id"] for run in ui.runs(DAG)]
    return [run_id for run_id in found if run_id.startswith(f"{prefix}-")]


async def call(client: AsyncDagInferenceClient, number: int, timeout: float) -> Mapping[str, Any]:
    """One of many calls, none like another."""
    return await client.invoke(DAG, {"n": number}, request_id=f"call-{number}", timeout=timeout)


async def test_a_storm(standalone: Standalone, ui: AirflowUi) -> None:
    """A fifth of the requests goes wrong, and sixty calls make sixty runs.

    Each has its answer or an error of the contract, and repeated with its request id it has its
    answer for certain.
    """
    ui.release(DAG)
    storm = faults.Storm(0.2, seed=11)
    async with FaultyProxy(standalone.airflow_url) as proxy:
        proxy.faults.add(storm)
        own = environment(standalone, "storm", DAG_INFERENCE_AIRFLOW_URL=proxy.url)
        async with (
            gateway_process(own) as gateway,
            AsyncDagInferenceClient(gateway.target) as client,
        ):
            calls = (call(client, number, 150) for number in range(STORM))
            answers = await asyncio.gather(*calls, return_exceptions=True)
            failed = [n for n, answer in enumerate(answers) if isinstance(answer, BaseException)]
            assert all(
                isinstance(answers[n], AirflowUnavailable | DeadlineExceeded) for n in failed
            )
            proxy.faults.clear()
            repeated = await asyncio.gather(*(call(client, number, 150) for number in range(STORM)))

    assert set(storm.met) == set(faults.PASSING)
    given = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert given == [{"n": n} for n in range(STORM) if n not in failed]
    assert repeated == [{"n": n} for n in range(STORM)]
    assert len(run_ids(ui, "storm")) == STORM


async def test_a_gateway_that_is_killed(standalone: Standalone, ui: AirflowUi) -> None:
    """Twenty calls wait for their runs; the next gateway gives all of their results."""
    ui.hold(DAG)
    async with (
        gateway_process(environment(standalone, "lost")) as gateway,
        AsyncDagInferenceClient(gateway.target, reattach=False) as client,
    ):
        made: dict[int, str] = {}
        calls = [asyncio.create_task(_wait_for_run(client, number, made)) for number in range(20)]
        while len(made) < 20:
            await asyncio.wait(calls, timeout=0.1)
            assert not any(one.done() for one in calls)
        await gateway.kill()
        lost: Sequence[DagInferenceError] = await asyncio.gather(*calls)
        assert [error.code.name for error in lost] == ["UNAVAILABLE"] * 20
        ui.release(DAG)
        await gateway.start()
        waited = await asyncio.gather(
            *(client.wait(DAG, made[number], timeout=150) for number in range(20))
        )
        invoked = await asyncio.gather(*(call(client, number, 150) for number in range(20)))

    assert [result.value for result in waited] == [{"n": n} for n in range(20)]
    assert invoked == [{"n": n} for n in range(20)]
    assert sorted(run_ids(ui, "lost")) == sorted(made.values())


async def _wait_for_run(
    client: AsyncDagInferenceClient, number: int, made: dict[int, str]
) -> DagInferenceError:
    """Call, tell the run, and give the error that the call ends with."""
    with pytest.raises(DagInferenceError) as caught:
        await client.call(
            DAG,
            {"n": number},
            request_id=f"call-{number}",
            timeout=150,
            on_run=lambda run_id: made.__setitem__(number, run_id),
        )
    return caught.value
