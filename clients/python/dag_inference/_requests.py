"""What a caller asks for, as messages of the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration

from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

RunRequest: TypeAlias = pb.InvokeRequest | pb.WaitRequest
"""What may be asked of a run whose result is wanted."""

AnyRequest: TypeAlias = RunRequest | pb.CancelRequest | pb.ListDagsRequest | pb.DescribeDagRequest
"""The requests of the service."""

Value = TypeVar("Value")

KeepOrCancel: TypeAlias = Literal["keep", "cancel"]
"""What becomes of a run that nobody waits for any more."""

_FOREVER = 1e9
"""Seconds: gRPC takes a few times as many for a deadline that is past."""


class WaitOptions(TypedDict, total=False):
    """How to wait for a run. Each may be left out."""

    result_task_ids: Sequence[str]
    """The tasks whose values are the result. Left out: the DAG's own choice."""
    on_deadline: KeepOrCancel
    """What becomes of the run when `timeout` is over. Left out: it goes on."""
    on_disconnect: KeepOrCancel
    """What becomes of the run when the caller goes away. Left out: it goes on. With
    `cancel`, also a connection that breaks ends the run: there is no coming back."""
    reference: bool
    """Whether to say where the values lie instead of reading them, for results that are too
    large to be sent. Left out: they are read."""


class InvokeOptions(WaitOptions, total=False):
    """How to trigger a run and wait for it. Each may be left out."""

    request_id: str | None
    """Names the call: another one with the same DAG and id attaches to the same
    run. Left out: a random one, so that a call the transport repeats by itself
    does not make a second run."""
    run_timeout: float | None
    """How long the run itself may take, in seconds; then it is cancelled, also
    when nobody waits for it any more. Left out: the DAG's own limit."""


def invoke_request(
    dag_id: str,
    conf: Mapping[str, Any] | None,
    *,
    request_id: str | None = None,
    run_timeout: float | None = None,
    result_task_ids: Sequence[str] = (),
    on_deadline: KeepOrCancel = "keep",
    on_disconnect: KeepOrCancel = "keep",
    reference: bool = False,
) -> pb.InvokeRequest:
    """Ask for a new run of a DAG."""
    request = pb.InvokeRequest(
        dag_id=dag_id,
        request_id=request_id or uuid4().hex,
        run_timeout=None if run_timeout is None else _duration(run_timeout),
        result_task_ids=_names(result_task_ids),
        on_deadline=_on_deadline(on_deadline),
        on_disconnect=_on_disconnect(on_disconnect),
        result_format=_format(reference),
    )
    if conf is not None:
        request.conf_json = _exact(conf)
    return request


def wait_request(
    dag_id: str,
    run_id: str,
    *,
    result_task_ids: Sequence[str] = (),
    on_deadline: KeepOrCancel = "keep",
    on_disconnect: KeepOrCancel = "keep",
    reference: bool = False,
) -> pb.WaitRequest:
    """Ask for a run that exists."""
    return pb.WaitRequest(
        dag_id=dag_id,
        run_id=run_id,
        result_task_ids=_names(result_task_ids),
        on_deadline=_on_deadline(on_deadline),
        on_disconnect=_on_disconnect(on_disconnect),
        result_format=_format(reference),
    )


def patience(timeout: float | None) -> float | None:
    """How long a call may take, in seconds, as gRPC can be told: `None` for the default.

    Raises:
        ValueError: It is over before it begins, or no number.
    """
    if timeout is None:
        return None
    if not timeout > 0:
        raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")
    return min(timeout, _FOREVER)


def _exact(conf: Mapping[str, Any]) -> str:
    if not isinstance(conf, Mapping):
        raise TypeError(f"conf is a mapping of names to JSON values, not {type(conf).__name__}")
    # As text rather than as a Struct, whose numbers are all doubles.
    return json.dumps(dict(conf), allow_nan=False, separators=(",", ":"))


def _format(reference: bool) -> pb.ResultFormat.ValueType:
    # JSON rather than a Struct, for the same reason.
    return pb.RESULT_FORMAT_REFERENCE if reference else pb.RESULT_FORMAT_JSON


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def _names(task_ids: Sequence[str]) -> Sequence[str]:
    # A str is a sequence of str too, and would ask for tasks of one letter.
    if isinstance(task_ids, str):
        raise TypeError(f"result_task_ids is a sequence of task ids, not the str {task_ids!r}")
    return task_ids


def _on_deadline(choice: KeepOrCancel) -> pb.OnDeadline.ValueType:
    return _choice("on_deadline", choice, pb.ON_DEADLINE_KEEP, pb.ON_DEADLINE_CANCEL)


def _on_disconnect(choice: KeepOrCancel) -> pb.OnDisconnect.ValueType:
    return _choice("on_disconnect", choice, pb.ON_DISCONNECT_KEEP, pb.ON_DISCONNECT_CANCEL)


def _choice(name: str, choice: str, keep: Value, cancel: Value) -> Value:
    if choice not in {"keep", "cancel"}:
        raise ValueError(f"{name} is 'keep' or 'cancel', not {choice!r}")
    return keep if choice == "keep" else cancel
