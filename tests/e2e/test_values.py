"""What a real Airflow makes of what tasks return, and what of it reaches the caller."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference import DagInferenceClient, ResultTooLarge
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as pb_grpc
from e2e.harness import Standalone

ARRIVES: dict[str, Any] = {
    "utc": "2026-07-01T12:00:00.250000Z",
    "zone": "2026-07-01T12:00:00.250000+02:00",
    # Airflow has no word for the standard library's own offsets: the instant is kept.
    "offset": "2026-07-01T10:00:00.250000Z",
    "pendulum": "2026-07-01T12:00:00-04:00",
    "date": "2026-07-01",
    "duration": 60.5,
    "decimal": "12.5",
    "uuid": "00000000-0000-0000-0000-000000000007",
    "tuple": [1, [2, 3]],
    "set": [1],
    "frozenset": ["a"],
    "numpy_integer": 3,
    "numpy_float": 2.5,
    "numpy_bool": True,
    "numpy_list": [[0, 1], [2, 3]],
    "dataclass": {"sku": "TEA", "price": "4.95", "at": "2026-07-01T12:00:00Z"},
    "attrs": {"x": 1, "pair": [2, 3]},
    "pydantic": {"sku": "TEA", "at": "2026-07-01T12:00:00Z"},
    "own": {"inner": [1, 2]},
    "null": {"a": None},
    "empty_key": {"": ""},
    "unicode": "é 漢字 🐘",
    "large_integer": [2**53 - 1, 2**53, 2**64 - 1, -(2**63)],
    "float": [1.0, 0.1, 1e300, 5e-324],
    "nested": {"list": [[1, {"at": "2026-07-01T12:00:00Z"}]]},
    "keys": {f"key.{number}": number for number in range(10_000)},
}
ARRIVES["dataclass"]["at"] = ARRIVES["pydantic"]["at"] = "2026-07-01T12:00:00.250000Z"
ARRIVES["nested"]["list"][0][1]["at"] = "2026-07-01T12:00:00.250000Z"


def test_every_kind_of_value(client: DagInferenceClient, standalone: Standalone) -> None:
    """In JSON as it was; in a Struct, integers beyond ±(2^53 - 1) are strings."""
    made = client.call("values", timeout=90)
    assert made.value == ARRIVES
    with grpc.insecure_channel(standalone.target) as channel:
        wait = pb.WaitRequest(dag_id="values", run_id=made.run.run_id)
        response = pb_grpc.DagInferenceStub(channel).Wait(wait, timeout=60)
    integers = [2**53 - 1, str(2**53), str(2**64 - 1), str(-(2**63))]
    assert MessageToDict(response.result) == {**ARRIVES, "large_integer": integers}


@pytest.mark.parametrize("length", [0, 1, 6])
def test_a_map_of_every_length(client: DagInferenceClient, length: int) -> None:
    """Nothing to map over is `[]`; the values come in the order of the map, also afterwards."""
    made = client.call("empty_map", {"length": length}, timeout=90)
    assert made.value == {"return_value": [number * number for number in range(length)]}
    assert client.wait("empty_map", made.run.run_id, timeout=60).value == made.value


def test_a_value_that_is_too_large(client: DagInferenceClient) -> None:
    """What a stock client could not receive is told with its size, and referred to instead."""
    with pytest.raises(ResultTooLarge, match="4194304") as caught:
        client.invoke("large_value", {"size": 5_000_000}, timeout=90)
    assert caught.value.run_id is not None
    referred = client.wait("large_value", caught.value.run_id, reference=True, timeout=60)
    assert [each.task_id for each in referred.references] == ["give"]


def test_a_value_that_just_fits(client: DagInferenceClient) -> None:
    """Four megabytes, less what is said beside them, arrive."""
    size = 4 * 1024 * 1024 - 2048
    assert client.invoke("large_value", {"size": size}, timeout=90) == {"return_value": "x" * size}
