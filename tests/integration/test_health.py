"""What the standard health service says, of the gateway, of Airflow and of DAGs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.gateway import Gateway, running, settings_for
from integration.statuses import failure
from integration.waiting import eventually, first_run, never

ServingStatus = health_pb2.HealthCheckResponse.ServingStatus
REQUEST = pb.InvokeRequest(dag_id="dag")

SERVES = ("", "dag_inference.v1.DagInference", "inference.GRPCInferenceService")
"""What is SERVING while calls are served: the server and its services."""


class TestAirflowIsDown:
    @pytest.fixture
    async def airflow(self) -> AsyncIterator[FakeAirflow]:
        """An Airflow that is not up yet: connections are refused."""
        fake = FakeAirflow(Dag("dag", script=[steps.finish("predict", 1)]))
        yield fake
        await fake.stop()

    async def test_starts_and_recovers(self, airflow: FakeAirflow, gateway: Gateway) -> None:
        """It is NOT_SERVING, and calls get AIRFLOW_UNAVAILABLE, until Airflow answers."""
        assert await gateway.health() == "NOT_SERVING"
        failed = await failure(gateway.stub.Invoke(REQUEST, timeout=10))
        assert failed.reason == "AIRFLOW_UNAVAILABLE"
        assert failed.retry_after

        await airflow.start()
        await gateway.ready()

        assert await gateway.health() == "SERVING"
        response = await gateway.stub.Invoke(REQUEST, timeout=10)
        assert MessageToDict(response.result) == {"return_value": 1}

    @pytest.mark.parametrize("settings", [{"shutdown_grace": 20}], ids=[""])
    @pytest.mark.parametrize("name", SERVES, ids=["server", "ours", "inference"])
    async def test_from_the_first_answer_until_the_end(
        self, airflow: FakeAirflow, gateway: Gateway, name: str
    ) -> None:
        """Who checks and who watches is told the same, of the server and of each service."""
        dag = airflow.add(Dag("parked"))
        seen: list[str] = []

        async def watch() -> None:
            stub: Any = health_pb2_grpc.HealthStub(gateway.channel)
            call = stub.Watch(health_pb2.HealthCheckRequest(service=name))
            while True:
                seen.append(ServingStatus.Name((await call.read()).status))

        watching = asyncio.create_task(watch())
        await eventually(lambda: seen == ["NOT_SERVING"])
        assert await gateway.health(name) == "NOT_SERVING"
        await airflow.start()
        await eventually(lambda: seen == ["NOT_SERVING", "SERVING"])
        assert await gateway.health(name) == "SERVING"
        call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=30)
        run = await first_run(dag)

        gateway.end()

        # While a call is still in flight.
        await eventually(lambda: seen == ["NOT_SERVING", "SERVING", "NOT_SERVING"])
        assert await gateway.health(name) == "NOT_SERVING"
        watching.cancel()
        run.finish("predict", 1)
        assert MessageToDict((await call).result) == {"return_value": 1}

    async def test_refused_account_recovers(self, airflow: FakeAirflow, gateway: Gateway) -> None:
        """An account that Airflow refuses keeps it NOT_SERVING, until it is let in."""
        airflow.faults.add(faults.refused(403, "Forbidden"), Kind.DAGS, times=2)
        await airflow.start()

        await gateway.ready()

        assert airflow.count(Kind.DAGS) >= 3
        assert await gateway.health() == "SERVING"


async def test_refused_password(airflow: FakeAirflow, gateway: Gateway) -> None:
    """It is SERVING only once Airflow has taken its password."""
    await gateway.ready()
    assert await gateway.health() == "SERVING"
    assert airflow.count(Kind.TOKEN) == 1


@pytest.mark.parametrize("settings", [{"airflow_password": "guess"}], ids=[""])
async def test_wrong_password(airflow: FakeAirflow, gateway: Gateway) -> None:
    """With the wrong password it never is."""
    await never(gateway.serving.ready.is_set, within=0.3)
    assert await gateway.health() == "NOT_SERVING"
    assert airflow.count(Kind.TOKEN) > 0


async def test_all_at_once(airflow: FakeAirflow, gateway: Gateway) -> None:
    """`List` tells of every name but those of DAGs, of which there may be any number."""
    await gateway.ready()
    stub: Any = health_pb2_grpc.HealthStub(gateway.channel)

    messages: Any = health_pb2
    answer = await stub.List(messages.HealthListRequest())

    assert {*answer.statuses} == {*SERVES, "airflow"}
    assert {answer.statuses[name].status for name in SERVES} == {ServingStatus.Value("SERVING")}


DAG_EVERY = 0.05


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked up now and then is looked up often."""
    monkeypatch.setattr("dag_inference_server.vitals._EVERY", DAG_EVERY)
    monkeypatch.setattr("dag_inference_server.edge.health._DAG_EVERY", DAG_EVERY)


@pytest.mark.usefixtures("_soon")
class TestNames:
    """What can be asked beside the gateway itself: `airflow`, and `dag/` with the id of a DAG."""

    async def test_a_dag(self, airflow: FakeAirflow, gateway: Gateway) -> None:
        """Is SERVING while it can be called, and watchers are told when that changes."""
        dag = airflow.add(Dag("dag"))
        await gateway.ready()
        seen: list[str] = []

        async def watch() -> None:
            stub: Any = health_pb2_grpc.HealthStub(gateway.channel)
            call = stub.Watch(health_pb2.HealthCheckRequest(service="dag/dag"))
            while True:
                seen.append(ServingStatus.Name((await call.read()).status))

        watching = asyncio.create_task(watch())
        await eventually(lambda: seen[-1:] == ["SERVING"])
        assert await gateway.health("dag/dag") == "SERVING"
        dag.is_paused = True
        await eventually(lambda: seen[-1:] == ["NOT_SERVING"])
        assert await gateway.health("dag/dag") == "NOT_SERVING"
        dag.is_paused, dag.has_import_errors = False, True
        await asyncio.wait_for(_is(gateway, "dag/dag", "NOT_SERVING"), 5)
        dag.has_import_errors = False
        await eventually(lambda: seen[-1:] == ["SERVING"])
        # It is gone from its file: Airflow knows it, and parses it no more.
        dag.is_stale = True
        await eventually(lambda: seen[-1:] == ["NOT_SERVING"])
        assert await gateway.health("dag/dag") == "NOT_SERVING"
        watching.cancel()

    async def test_no_dag(self, airflow: FakeAirflow) -> None:
        """Is NOT_FOUND to who checks, and SERVICE_UNKNOWN to who watches: not there, not served."""
        airflow.add(Dag("dag"))
        async with running(settings_for(airflow, dags="other,nowhere")) as gateway:
            await gateway.ready()
            await asyncio.wait_for(_is(gateway, "airflow", "SERVING"), 5)
            stub: Any = health_pb2_grpc.HealthStub(gateway.channel)
            for name in ("dag/dag", "dag/nowhere", "dag/", "something"):
                request = health_pb2.HealthCheckRequest(service=name)
                with pytest.raises(grpc.RpcError) as caught:
                    await stub.Check(request)
                assert caught.value.code() is grpc.StatusCode.NOT_FOUND, name
                watch = stub.Watch(request)
                assert (await watch.read()).status == ServingStatus.Value("SERVICE_UNKNOWN"), name
                watch.cancel()

    async def test_a_dag_that_is_not_there(self, airflow: FakeAirflow, gateway: Gateway) -> None:
        """Is not looked for again and again, whoever makes up its name."""
        await gateway.ready()
        await asyncio.wait_for(_is(gateway, "airflow", "SERVING"), 5)
        stub: Any = health_pb2_grpc.HealthStub(gateway.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="dag/nowhere"))
        await watch.read()
        await never(lambda: airflow.count(Kind.DAG) > 1, within=5 * DAG_EVERY)
        watch.cancel()

    async def test_many_dags_at_once(self, airflow: FakeAirflow, gateway: Gateway) -> None:
        """Leave room for calls, however slow Airflow is with them."""
        await gateway.ready()
        await asyncio.wait_for(_is(gateway, "airflow", "SERVING"), 5)
        airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
        names = [f"made_up_{number}" for number in range(50)]
        for name in names:
            airflow.faults.add(faults.hanging(), Kind.DAG, dag_id=name)
        checks = [asyncio.create_task(gateway.health(f"dag/{name}")) for name in names]
        await eventually(lambda: airflow.count(Kind.DAG) >= 2)

        response = await gateway.stub.Invoke(REQUEST, timeout=9)

        assert MessageToDict(response.result) == {"return_value": 1}
        assert sum(asked.dag_id in names for asked in airflow.asked) == 2
        for check in checks:
            check.cancel()

    @pytest.mark.parametrize("name", ["~", "..", "../x", "%2f", "a?b", "x" * 10_000], ids=len)
    async def test_an_id_with_tricks_in_it(
        self, airflow: FakeAirflow, gateway: Gateway, name: str
    ) -> None:
        """Is that of no DAG, and Airflow is not asked."""
        await gateway.ready()
        await asyncio.wait_for(_is(gateway, "airflow", "SERVING"), 5)
        before = {asked.request.path for asked in airflow.asked}

        with pytest.raises(grpc.RpcError) as caught:
            await gateway.health(f"dag/{name}")

        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert {asked.request.path for asked in airflow.asked} == before

    @pytest.mark.parametrize("component", ["scheduler", "metadatabase"])
    async def test_airflow_is_ill(
        self, airflow: FakeAirflow, gateway: Gateway, component: str
    ) -> None:
        """`airflow` and its DAGs are NOT_SERVING, and the gateway is SERVING as before."""
        airflow.add(Dag("dag"))
        await gateway.ready()
        await asyncio.wait_for(_is(gateway, "dag/dag", "SERVING"), 5)
        assert await gateway.health("airflow") == "SERVING"

        airflow.faults.add(faults.ill(component), Kind.HEALTH)

        await asyncio.wait_for(_is(gateway, "airflow", "NOT_SERVING"), 5)
        assert await gateway.health("dag/dag") == "NOT_SERVING"
        assert await gateway.health() == "SERVING"
        assert await gateway.health("dag_inference.v1.DagInference") == "SERVING"

    async def test_a_part_that_not_every_dag_needs(
        self, airflow: FakeAirflow, gateway: Gateway
    ) -> None:
        """Without a triggerer, most runs come to their ends."""
        airflow.faults.add(faults.ill("triggerer"), Kind.HEALTH)
        await asyncio.wait_for(_is(gateway, "airflow", "SERVING"), 5)

    async def test_airflow_is_away(self, airflow: FakeAirflow, gateway: Gateway) -> None:
        """`airflow` is NOT_SERVING until it is back; no replica is thrown away for it."""
        await gateway.ready()
        await asyncio.wait_for(_is(gateway, "airflow", "SERVING"), 5)
        await airflow.stop()
        await asyncio.wait_for(_is(gateway, "airflow", "NOT_SERVING"), 10)
        assert await gateway.health() == "SERVING"
        await airflow.start()
        await asyncio.wait_for(_is(gateway, "airflow", "SERVING"), 10)

    async def test_airflow_hangs(
        self, airflow: FakeAirflow, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It takes requests and answers none: the same, however long a request may take."""
        monkeypatch.setattr("dag_inference_server.airflow.api._HEALTH_WITHIN", 0.2)
        await gateway.ready()
        await asyncio.wait_for(_is(gateway, "airflow", "SERVING"), 5)
        airflow.faults.add(faults.hanging())
        await asyncio.wait_for(_is(gateway, "airflow", "NOT_SERVING"), 20)
        airflow.faults.clear()
        await asyncio.wait_for(_is(gateway, "airflow", "SERVING"), 20)

    @pytest.mark.parametrize("settings", [{"airflow_password": "guess"}], ids=[""])
    async def test_the_account_is_refused(self, airflow: FakeAirflow, gateway: Gateway) -> None:
        """Airflow tells anybody how it does; the gateway itself serves nothing."""
        await asyncio.wait_for(_is(gateway, "airflow", "SERVING"), 5)
        assert await gateway.health() == "NOT_SERVING"

    async def test_one_request_fails(self, airflow: FakeAirflow, gateway: Gateway) -> None:
        """Nobody is told that Airflow is away."""
        await gateway.ready()
        await asyncio.wait_for(_is(gateway, "airflow", "SERVING"), 5)
        before = airflow.count(Kind.HEALTH)
        airflow.faults.add(faults.refused(503), Kind.HEALTH, times=1)
        while airflow.count(Kind.HEALTH) < before + 4:
            assert await gateway.health("airflow") == "SERVING"


async def _is(gateway: Gateway, name: str, status: str) -> None:
    while await gateway.health(name) != status:  # noqa: ASYNC110 - a condition beyond a channel
        await asyncio.sleep(DAG_EVERY)
