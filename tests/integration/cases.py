"""A row of the error table: what is called, and what the caller is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow

RUN = "<the run>"
"""Stands for the id of the run that was made."""

AS_LAST_SEEN = "<as last seen>"
"""Stands for a state of the run that the answer did not depend on."""


ROUNDS = {"poll_interval_old": 0.1}
"""Settings with which the slow rounds are quick ones."""


def nothing(_: FakeAirflow) -> None:
    """Leave Airflow as it is."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to fail."""

    name: str
    code: StatusCode
    reason: str
    request: pb.InvokeRequest | pb.WaitRequest = field(
        default_factory=lambda: pb.InvokeRequest(dag_id="dag")
    )
    dag: Callable[[], Dag] = lambda: Dag("dag")
    """The DAG that Airflow has."""
    before: Callable[[FakeAirflow], object] = nothing
    """What is wrong with Airflow."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=lambda: {"dag_id": "dag"})
    """All of it."""
    says: str = ""
    """What of the DAG's own words the message ends with."""
    violations: Sequence[str] = ()
    """The fields that `BadRequest` names."""
    resource: tuple[str, str] | None = None
    """What `ResourceInfo` names."""
    retry: bool = False
    """Whether `RetryInfo` says when to come back."""
    there: str | None = None
    """The id of a run that somebody has made before, of another conf."""
    parked: int = 0
    """How many such calls are in flight already."""
    gateway_ends: bool = False
    """Whether the gateway goes away as soon as the run exists."""
    bug: bool = False
    """Whether the gateway itself breaks down over the call's run."""
    asks: bool = True
    """Whether Airflow is asked about the DAG."""

    def __str__(self) -> str:
        """The name of the test."""
        return f"{self.reason}-{self.name}".replace(" ", "-")


def conf(**fields: Any) -> pb.InvokeRequest:
    """A request with a Struct."""
    request = pb.InvokeRequest(dag_id="dag")
    request.conf.update(fields)
    return request


def conf_json(text: str) -> pb.InvokeRequest:
    """A request with JSON text."""
    return pb.InvokeRequest(dag_id="dag", conf_json=text)


def of_run(state: str, **more: str) -> dict[str, str]:
    """The metadata of an error that has a run."""
    return {"dag_id": "dag", "run_id": RUN, "run_state": state, **more}
