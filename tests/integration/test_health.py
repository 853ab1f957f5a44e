"""A gateway whose Airflow comes up later than itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.gateway import Gateway
from integration.statuses import failure
from integration.waiting import never

REQUEST = pb.InvokeRequest(dag_id="dag")


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

    async def test_refused_account_recovers(self, airflow: FakeAirflow, gateway: Gateway) -> None:
        """An account that Airflow refuses keeps it NOT_SERVING, until it is let in."""
        airflow.faults.add(faults.refused(403, "Forbidden"), Kind.DAGS, times=2)
        await airflow.start()

        await gateway.ready()

        assert airflow.count(Kind.DAGS) == 3
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
