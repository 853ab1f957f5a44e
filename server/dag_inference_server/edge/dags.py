"""What there is to call: requests for it, and DAGs as messages of the contract."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.struct_pb2 import Struct

from dag_inference.errors import (
    DagBroken,
    DagError,
    DagNotTriggerable,
    DagPaused,
    RequestInvalid,
    ResultTaskUnknown,
    Violation,
)
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.airflow import Dag
from dag_inference_server.catalog.availability import why_not
from dag_inference_server.catalog.catalog import Description
from dag_inference_server.catalog.listing import PAGE, Place
from dag_inference_server.catalog.params import example_conf, params_schema
from dag_inference_server.edge.responses import RULES
from dag_inference_server.results.struct import MAX_SAFE_INTEGER, Json, TooDeep, TooLarge, to_struct

_MAX_TAGS = 32

_SCHEMA_BYTES = 1024 * 1024
"""A quarter of what a stock client takes: the documentation has to fit beside it."""

_ENVELOPE = 64
"""Bytes that the answer adds to the DAG and its documentation."""

_AVAILABILITY: Mapping[type[Exception], pb.DagAvailability.ValueType] = {
    DagPaused: pb.DAG_AVAILABILITY_PAUSED,
    DagBroken: pb.DAG_AVAILABILITY_BROKEN,
    ResultTaskUnknown: pb.DAG_AVAILABILITY_BROKEN,
    DagNotTriggerable: pb.DAG_AVAILABILITY_NOT_TRIGGERABLE,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """Which page of DAGs is asked for."""

    size: int
    tags: tuple[str, ...]
    place: Place | None
    """`None` for the first."""


def read_list(request: pb.ListDagsRequest) -> Wish:
    """Turn a request into a wish.

    Raises:
        RequestInvalid: With a violation for each field that is wrong.
    """
    wrong = []
    if not 0 <= request.page_size <= PAGE:
        wrong.append(Violation("page_size", f"must be from 1 to {PAGE}, or left out"))
    if len(request.tags) > _MAX_TAGS or any(not tag or "\0" in tag for tag in request.tags):
        wrong.append(Violation("tags", f"must be at most {_MAX_TAGS} texts that are not empty"))
    tags = tuple(sorted(request.tags))
    place = _read_token(request.page_token, tags) if request.page_token else None
    if request.page_token and place is None:
        wrong.append(Violation("page_token", "is not from a request with the same tags"))
    if wrong:
        raise RequestInvalid(
            "; ".join(f"{each.field} {each.description}" for each in wrong), violations=wrong
        )
    return Wish(request.page_size or PAGE, tags, place)


def listed(dags: Sequence[Dag], place: Place | None, tags: Sequence[str]) -> pb.ListDagsResponse:
    """A page of DAGs of these tags, and where the next one begins."""
    return pb.ListDagsResponse(
        dags=[_summary(dag, why_not(dag)) for dag in dags],
        next_page_token=_token(place, tags) if place else "",
    )


def described(description: Description, max_bytes: int) -> pb.DescribeDagResponse:
    """All of a DAG; of its documentation as much as fits into so many bytes."""
    dag, plan = description.dag, description.plan
    message = _summary(dag, description.refusal)
    message.active_runs = description.active_runs
    message.dag_version = dag.version
    if plan is not None:
        message.result_task_ids.extend(plan.task_ids)
        message.result_rule = RULES[plan.rule]
    params = dag.params or {}
    if schema := _struct(params_schema(params)):
        message.params_schema.CopyFrom(schema)
    message.example.dag_id = dag.dag_id
    if conf := example_conf(params):
        if struct := _struct(conf):
            message.example.conf.CopyFrom(struct)
        elif len(text := json.dumps(conf)) < _SCHEMA_BYTES:
            message.example.conf_json = text
    message.documentation = _cut(dag.doc_md or "", max_bytes - message.ByteSize() - _ENVELOPE)
    return pb.DescribeDagResponse(dag=message)


def _summary(dag: Dag, refusal: DagError | ResultTaskUnknown | None) -> pb.Dag:
    return pb.Dag(
        dag_id=dag.dag_id,
        display_name=dag.dag_display_name or dag.dag_id,
        description=dag.description or "",
        tags=[tag.name for tag in dag.tags],
        availability=_AVAILABILITY[type(refusal)] if refusal else pb.DAG_AVAILABILITY_READY,
        availability_detail=refusal.message if refusal else "",
        max_active_runs=dag.max_active_runs or 0,
    )


def _struct(document: Mapping[str, Json]) -> Struct | None:
    """The document, if a Struct holds all of it: its numbers are doubles."""
    if _has_large_integer(document):
        return None
    with suppress(TooDeep, TooLarge):
        struct = to_struct(document, _SCHEMA_BYTES)
        return struct if struct.ByteSize() <= _SCHEMA_BYTES else None
    return None


def _has_large_integer(item: Json | Mapping[str, Json]) -> bool:
    match item:
        case int():
            return abs(item) > MAX_SAFE_INTEGER
        case list():
            return any(map(_has_large_integer, item))
        case Mapping():
            return any(map(_has_large_integer, item.values()))
        case _:
            return False


def _cut(text: str, size: int) -> str:
    """A text, or its beginning in so many bytes."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= size:
        return encoded.decode()
    return encoded[: max(size, 0)].decode(errors="ignore") + "…"


def _token(place: Place, tags: Sequence[str]) -> str:
    text = json.dumps([place.offset, place.after, *tags])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_token(token: str, tags: Sequence[str]) -> Place | None:
    """The place; `None` if it is no token of ours, or one for other tags."""
    try:
        document = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return None
    match document:
        case [int() as offset, str() as after, *rest] if rest == [*tags] and 0 < offset < 2**31:
            return Place(offset, after)
        case _:
            return None
