"""Outcomes and events as messages of the contract."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import quote

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from dag_inference.errors import ResultTooDeep, ResultTooLarge
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.airflow import RESULT_KEY, DagRun, TaskInstance
from dag_inference_server.apart import Apart
from dag_inference_server.catalog.plan import ResultRule
from dag_inference_server.edge.wire import Answer, field
from dag_inference_server.invocation.call import (
    Accepted,
    Outcome,
    ResultFormat,
    ResultReference,
    Timing,
    Wanted,
)
from dag_inference_server.results.forms import struct_bytes_of, struct_of, text_of
from dag_inference_server.results.shape import ResultKind, Shaped
from dag_inference_server.results.struct import TooDeep, TooLarge
from dag_inference_server.results.written import QUICK

_RUN_STATES: Mapping[str, pb.RunState.ValueType] = {
    "queued": pb.RUN_STATE_QUEUED,
    "running": pb.RUN_STATE_RUNNING,
    "success": pb.RUN_STATE_SUCCESS,
    "failed": pb.RUN_STATE_FAILED,
}
_TASK_STATES: Mapping[str, pb.TaskInstanceState.ValueType] = {
    name.removeprefix("TASK_INSTANCE_STATE_").lower(): value
    for name, value in pb.TaskInstanceState.items()
}
_KINDS: Mapping[ResultKind, pb.ResultKind.ValueType] = {
    ResultKind.OBJECT: pb.RESULT_KIND_OBJECT,
    ResultKind.WRAPPED_VALUE: pb.RESULT_KIND_WRAPPED_VALUE,
    ResultKind.BY_TASK: pb.RESULT_KIND_BY_TASK,
    ResultKind.NONE: pb.RESULT_KIND_NONE,
}
RULES: Mapping[ResultRule, pb.ResultRule.ValueType] = {
    ResultRule.REQUEST: pb.RESULT_RULE_REQUEST,
    ResultRule.TAG: pb.RESULT_RULE_TAG,
    ResultRule.SETTING: pb.RESULT_RULE_SETTING,
    ResultRule.DECLARED: pb.RESULT_RULE_DECLARED,
    ResultRule.LEAF: pb.RESULT_RULE_LEAF,
    ResultRule.NONE: pb.RESULT_RULE_NONE,
    ResultRule.RUN_END: pb.RESULT_RULE_RUN_END,
}


_ENVELOPE = 64
"""Bytes that the event of a stream adds to an answer, at most."""


class Responses:
    """Makes messages, with links into one Airflow and within one limit of size."""

    def __init__(self, airflow_url: str, apart: Apart, *, max_bytes: int) -> None:
        """Link to `airflow_url`, and refuse answers larger than `max_bytes`.

        What is made of large results is made `apart`.
        """
        self._url = airflow_url
        self._apart = apart
        self.max_bytes = max_bytes

    def accepted(self, event: Accepted) -> pb.Accepted:
        """The first event of a stream."""
        return pb.Accepted(
            run=self.run(event.run),
            attached=event.attached,
            result_task_ids=event.plan.task_ids,
            result_rule=RULES[event.plan.rule],
        )

    def run(self, run: DagRun) -> pb.Run:
        """A run."""
        return pb.Run(
            dag_id=run.dag_id,
            run_id=run.run_id,
            state=_RUN_STATES.get(run.state, pb.RUN_STATE_UNSPECIFIED),
            url=f"{self._url}{_ui_path(run.dag_id, run.run_id)}",
            dag_version=run.version,
            queued_time=_timestamp(run.queued_at),
            start_time=_timestamp(run.start_date),
            end_time=_timestamp(run.end_date),
        )

    async def outcome(self, wanted: Wanted, outcome: Outcome) -> Answer[pb.InvokeResponse]:
        """The answer to a call.

        Raises:
            ResultTooDeep: The result is nested too deeply for a Struct.
            ResultTooLarge: The answer is larger than the limit.
        """
        start = time.monotonic()
        response = pb.InvokeResponse(run=self.run(outcome.run), timing=_timing(outcome.timing))
        more = b""
        if wanted.result_format is ResultFormat.REFERENCE:
            references = (self._reference(outcome.run, r) for r in outcome.references)
            response.result_reference.extend(references)
        elif (result := outcome.result) is not None:
            response.result_kind = _KINDS[result.kind]
            try:
                if wanted.result_format is ResultFormat.STRUCT:
                    more = await self._struct(result, response, outcome.bytes_read)
                elif result.kind is not ResultKind.NONE:
                    response.result_json = await self._text(result, outcome.bytes_read)
            except RecursionError:
                raise ResultTooDeep(
                    "the result is nested a thousand levels deep; ask for a reference"
                ) from None
        translation = timedelta(seconds=time.monotonic() - start)
        response.timing.translation.FromTimedelta(translation)
        response.timing.total.FromTimedelta(outcome.timing.total + translation)
        answer = Answer(response, more)
        if (size := answer.size + _ENVELOPE) > self.max_bytes:
            raise ResultTooLarge(
                f"the answer has {size} bytes, more than {self.max_bytes}; ask for a reference"
            )
        return answer

    async def _struct(self, result: Shaped, response: pb.InvokeResponse, size: int) -> bytes:
        """Put a result of so many bytes of JSON into the answer, or give the bytes to add to it."""
        try:
            if size <= QUICK:
                response.result.CopyFrom(struct_of(result, self.max_bytes))
                return b""
            content = await self._apart.run(size, struct_bytes_of, result, self.max_bytes)
        except TooDeep as error:
            raise ResultTooDeep(f"the result is {error}; ask for JSON") from None
        except TooLarge:
            way = "JSON or a reference" if size <= self.max_bytes else "a reference"
            raise ResultTooLarge(
                f"the result has more than {self.max_bytes} bytes as a Struct, from {size} of "
                f"JSON; ask for {way}"
            ) from None
        return field(response, "result", content)

    async def _text(self, result: Shaped, size: int) -> str:
        """The text of a result of so many bytes of JSON as Airflow writes it."""
        try:
            if size <= QUICK:
                return text_of(result, self.max_bytes)
            return await self._apart.run(size, text_of, result, self.max_bytes)
        except TooLarge:
            raise ResultTooLarge(
                f"the result has more than {self.max_bytes} bytes as JSON; ask for a reference"
            ) from None

    def _reference(self, run: DagRun, reference: ResultReference) -> pb.ResultReference:
        task_path = f"/tasks/{quote(reference.task_id, safe='')}"
        mapped = reference.map_index >= 0
        api_path = (
            f"/api/v2/dags/{quote(run.dag_id, safe='')}/dagRuns/{quote(run.run_id, safe='')}"
            f"/taskInstances/{quote(reference.task_id, safe='')}/xcomEntries/{RESULT_KEY}"
        )
        return pb.ResultReference(
            dag_id=run.dag_id,
            run_id=run.run_id,
            task_id=reference.task_id,
            map_index=reference.map_index if mapped else None,
            key=RESULT_KEY,
            api_url=f"{self._url}{api_path}"
            + (f"?map_index={reference.map_index}" if mapped else ""),
            ui_url=f"{self._url}{_ui_path(run.dag_id, run.run_id)}{task_path}"
            + (f"/mapped/{reference.map_index}" if mapped else ""),
        )


def task_instance(instance: TaskInstance) -> pb.TaskInstance:
    """A task instance."""
    return pb.TaskInstance(
        task_id=instance.task_id,
        map_index=instance.map_index if instance.map_index >= 0 else None,
        try_number=instance.try_number,
        state=_TASK_STATES.get(instance.state, pb.TASK_INSTANCE_STATE_UNSPECIFIED),
        start_time=_timestamp(instance.start_date),
        end_time=_timestamp(instance.end_date),
    )


def run_state(run: DagRun | None) -> pb.RunState.ValueType:
    """The state of a run, as far as it is known."""
    return _RUN_STATES.get(run.state if run else "", pb.RUN_STATE_UNSPECIFIED)


def _ui_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"


def _timing(of: Timing) -> pb.Timing:
    """Where the time of a call went, but for the translation."""
    spans = of.stages() | {"total": of.total}
    return pb.Timing(**{name: _duration(span) for name, span in spans.items()})


def _duration(span: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(span)
    return message


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message
