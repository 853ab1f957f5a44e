"""The port for those who have no gRPC, and what probes are told there."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.server import CannotListen
from fakes.airflow import Dag, FakeAirflow, steps
from integration.gateway import Gateway, running, settings_for
from integration.scraping import get, scrape_until
from integration.waiting import PATIENCE, eventually


@pytest.mark.parametrize("settings", [{"shutdown_grace": 20}])
async def test_probes(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Ready from Airflow's first answer to the account until it is told to go; always alive."""
    dag = airflow.add(Dag("dag"))
    await gateway.ready()
    ready = [(await get(gateway, path))[0] for path in ("/livez", "/readyz")]
    call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=20)
    run = await eventually(lambda: dag.made)

    gateway.end()
    async with asyncio.timeout(5):
        while (await get(gateway, "/readyz"))[0] == 200:
            pass
    leaving = [await get(gateway, path) for path in ("/livez", "/readyz")]
    run[0].finish("predict", 1)
    await call

    assert ready == [200, 200]
    assert [(status, said) for status, _, said in leaving] == [
        (200, "ok\n"),
        (503, "not ready: going away\n"),
    ]


async def test_airflow_away_is_no_reason_to_be_thrown_away(
    airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica stays ready while Airflow is away: no other would do better."""
    monkeypatch.setattr("dag_inference_server.vitals._EVERY", 0.05)
    up = "dag_inference_airflow_up"
    async with running(settings_for(airflow)) as gateway:
        await gateway.ready()
        await airflow.stop()
        await scrape_until(gateway, lambda found: not found.shown(up))

        assert [(await get(gateway, path))[0] for path in ("/livez", "/readyz")] == [200, 200]


async def test_not_ready_before_airflow_has_answered(airflow: FakeAirflow) -> None:
    """A replica that cannot do anything yet gets no calls."""
    await airflow.stop()
    async with running(settings_for(airflow)) as gateway:
        assert [(await get(gateway, path))[0] for path in ("/livez", "/readyz")] == [200, 503]
        async with asyncio.timeout(PATIENCE):
            while "does not answer" not in (await get(gateway, "/readyz"))[2]:
                pass


async def test_not_ready_while_the_account_is_refused(airflow: FakeAirflow) -> None:
    """Airflow's refusal is no answer to go by, and the reason is told."""
    async with running(settings_for(airflow, airflow_password="guess")) as gateway:
        told = "not ready: AIRFLOW_DENIED: Airflow refuses the password of gateway\n"
        async with asyncio.timeout(PATIENCE):
            while (await get(gateway, "/readyz"))[::2] != (503, told):
                pass


async def test_a_port_that_is_taken(airflow: FakeAirflow) -> None:
    """Is said plainly, and ends the gateway before it serves."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CannotListen, match=f"metrics on {address}"):
            async with running(settings_for(airflow, metrics_listen=address)):
                raise AssertionError("it serves")


async def test_off(airflow: FakeAirflow) -> None:
    """Without a port, calls are served as ever."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    async with running(settings_for(airflow, metrics_listen="off")) as gateway:
        assert gateway.serving.metrics_port is None
        await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
