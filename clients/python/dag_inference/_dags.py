"""What there is to call, and how."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dag_inference._enums import by_number
from dag_inference._results import ResultRule, result_rule_from
from dag_inference._values import plain_dict
from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence


class DagAvailability(StrEnum):
    """Whether a DAG can be called."""

    UNKNOWN = "unknown"
    """One that this version does not know."""
    READY = "ready"
    """It can."""
    PAUSED = "paused"
    BROKEN = "broken"
    """Its file has import errors, or is gone, or its result task does not exist."""
    NOT_TRIGGERABLE = "not_triggerable"
    """It does not allow runs that are triggered from outside."""


@dataclass(frozen=True, slots=True)
class Dag:
    """A DAG as its callers see it. `dags` leaves out what only `describe` tells."""

    dag_id: str
    display_name: str
    description: str
    tags: tuple[str, ...]
    availability: DagAvailability
    availability_detail: str
    """Why it cannot be called, in a sentence; empty if it can."""
    max_active_runs: int | None
    """How many of its runs Airflow lets run at once; `None` for no limit."""
    documentation: str
    """Markdown. By `describe` only, as all that follows."""
    params_schema: dict[str, Any]
    """A JSON Schema of the conf, defaults included."""
    result_task_ids: tuple[str, ...]
    """The tasks whose values are its result; empty if not known before a run has ended."""
    result_rule: ResultRule
    """How they were found."""
    active_runs: int
    """How many of its runs are queued or running."""
    dag_version: int
    example: dict[str, Any]
    """A conf to begin with: the defaults, and placeholders for what has none."""


_AVAILABILITIES = by_number(DagAvailability, pb.DagAvailability.items(), "DAG_AVAILABILITY_")


def list_request(tags: Sequence[str], page_token: str) -> pb.ListDagsRequest:
    """Ask for a page of DAGs."""
    if isinstance(tags, str):
        raise TypeError(f"tags is a sequence of tags, not the str {tags!r}")
    return pb.ListDagsRequest(tags=tags, page_token=page_token)


def dag_from(message: pb.Dag) -> Dag:
    """Read a DAG."""
    return Dag(
        dag_id=message.dag_id,
        display_name=message.display_name,
        description=message.description,
        tags=tuple(message.tags),
        availability=_AVAILABILITIES.get(message.availability, DagAvailability.UNKNOWN),
        availability_detail=message.availability_detail,
        max_active_runs=message.max_active_runs or None,
        documentation=message.documentation,
        params_schema=plain_dict(message.params_schema),
        result_task_ids=tuple(message.result_task_ids),
        result_rule=result_rule_from(message.result_rule),
        active_runs=message.active_runs,
        dag_version=message.dag_version,
        example=_example(message.example),
    )


def _example(request: pb.InvokeRequest) -> dict[str, Any]:
    """Its conf. As text, it holds integers that a Struct cannot."""
    if request.WhichOneof("input") != "conf_json":
        return plain_dict(request.conf)
    conf: dict[str, Any] = json.loads(request.conf_json)
    return conf
