"""What this version of the gateway does not serve yet."""

from __future__ import annotations

import grpc
import pytest

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import FakeAirflow, Kind
from integration.gateway import Gateway
from integration.statuses import failure
from integration.waiting import eventually

REQUESTS = {
    "ListDags": pb.ListDagsRequest(),
    "DescribeDag": pb.DescribeDagRequest(),
}


@pytest.mark.parametrize("method", REQUESTS)
async def test_unimplemented(airflow: FakeAirflow, gateway: Gateway, method: str) -> None:
    """It answers a bare UNIMPLEMENTED, and asks Airflow nothing."""
    await gateway.ready()
    # It looks for unfinished runs when it starts.
    await eventually(lambda: airflow.count(Kind.RUNS))
    asked = airflow.count()

    failed = await failure(getattr(gateway.stub, method)(REQUESTS[method]))

    assert failed.code is grpc.StatusCode.UNIMPLEMENTED
    assert not failed.encoded
    assert airflow.count() == asked
