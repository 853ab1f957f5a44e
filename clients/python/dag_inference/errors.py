"""Everything that can go wrong with a call, as one table of exceptions.

Gateway and client share it: what the gateway raises, the caller's `except`
catches. Each class is one reason of the contract (`ErrorReason` in
`dag_inference.proto`) with its gRPC status code::

    DagInferenceError
    ├── RequestError           the request; no run was made
    │   ├── RequestInvalid         INVALID_ARGUMENT
    │   ├── OptionNotAllowed       PERMISSION_DENIED
    │   ├── ConfInvalid            INVALID_ARGUMENT
    │   ├── RequestIdReused        ALREADY_EXISTS
    │   └── ResultTaskUnknown      INVALID_ARGUMENT or FAILED_PRECONDITION
    ├── DagError               the DAG cannot be called
    │   ├── DagNotFound            NOT_FOUND
    │   ├── DagNotAllowed          PERMISSION_DENIED
    │   ├── DagPaused              FAILED_PRECONDITION
    │   ├── DagBroken              FAILED_PRECONDITION
    │   └── DagNotTriggerable      FAILED_PRECONDITION
    ├── RunError               the run gave no result
    │   ├── RunNotFound            NOT_FOUND
    │   ├── RunNotOurs             FAILED_PRECONDITION
    │   ├── TaskFailed             ABORTED, or as the operator chose
    │   ├── RunCancelled           ABORTED
    │   ├── RunDeleted             ABORTED
    │   └── RunTimedOut            ABORTED
    ├── ResultError            the result is none, or cannot be sent
    │   ├── ResultSkipped          FAILED_PRECONDITION
    │   ├── ResultTooLarge         OUT_OF_RANGE
    │   ├── ResultTooDeep          OUT_OF_RANGE
    │   └── ResultTooManyMapIndexes  OUT_OF_RANGE
    ├── DeadlineExceeded       DEADLINE_EXCEEDED; the run may go on
    └── ServiceError           the gateway or Airflow
        ├── AirflowDenied          FAILED_PRECONDITION
        ├── AirflowUnavailable     UNAVAILABLE
        ├── Overloaded             RESOURCE_EXHAUSTED
        ├── ShuttingDown           UNAVAILABLE
        └── GatewayBug             INTERNAL
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import ClassVar, Self

from grpc import StatusCode

DOMAIN = "dag_inference"
"""`ErrorInfo.domain` of every error of the contract."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field of a request that is wrong: a `BadRequest.FieldViolation`."""

    field: str
    """Path of the field, with dots, as the proto names it: `conf.features`."""
    description: str
    """What is wrong with it, in a sentence without the field's name."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What an error is about: the metadata of its `ErrorInfo`.

    Field names are the keys of the contract. `None` means not known, and is not
    sent.
    """

    dag_id: str | None = None
    run_id: str | None = None
    run_state: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None
    exception_type: str | None = None

    def to_metadata(self) -> dict[str, str]:
        """The known fields as text, by key."""
        known = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {key: str(value) for key, value in known if value is not None}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Subject:
        """The inverse. Keys that this version does not know are passed over."""

        def number(key: str) -> int | None:
            text = metadata.get(key, "")
            return int(text) if text.isdecimal() else None

        return cls(
            dag_id=metadata.get("dag_id"),
            run_id=metadata.get("run_id"),
            run_state=metadata.get("run_state"),
            task_id=metadata.get("task_id"),
            map_index=number("map_index"),
            try_number=number("try_number"),
            exception_type=metadata.get("exception_type"),
        )


class DagInferenceError(Exception):
    """A call that got no result. Catch this one to catch them all.

    Raised as itself by the client when the error does not come from a gateway: a
    proxy answered, the contract is newer. That nobody listens at the address is a
    `ServiceError`.
    """

    code: StatusCode = StatusCode.UNKNOWN
    """The gRPC status code. An instance may differ from its class."""
    reason: ClassVar[str] = ""
    """`ErrorInfo.reason`; empty for the classes that only group others."""

    def __init__(
        self,
        message: str,
        *,
        subject: Subject | None = None,
        code: StatusCode | None = None,
        retry_after: timedelta | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        """Take what is known of the failure.

        Args:
            message: One sentence for people.
            subject: The DAG, run and task that it is about.
            code: The status code, where it is not the class's own.
            retry_after: When repeating the call makes sense; `None` if it does not.
            violations: The fields of the request that are wrong.
        """
        super().__init__(message)
        self.message = message
        self.subject = subject or Subject()
        self.code = code or type(self).code
        self.retry_after = retry_after
        self.violations = tuple(violations)
        self.is_repeatable = True
        """Whether a transport may repeat the call by itself: not if there may be a run that the
        repeated call would not find. Gateways set it."""

    def about(self, subject: Subject) -> Self:
        """The same error, with what `subject` knows and it does not.

        A new one: an error may have been raised for several calls at once.
        """
        error = copy(self)
        known = {field.name: getattr(self.subject, field.name) for field in fields(Subject)}
        error.subject = replace(subject, **{k: v for k, v in known.items() if v is not None})
        return error

    @property
    def run_id(self) -> str | None:
        """The run, if there is one: the handle to come back with."""
        return self.subject.run_id

    def __str__(self) -> str:
        """Reason, or code where there is none, and message."""
        return f"{self.reason or self.code.name}: {self.message}"


class RequestError(DagInferenceError):
    """The request is not one that can be served. No run was made."""


class RequestInvalid(RequestError):
    """A field is missing or malformed. `violations` names it."""

    code = StatusCode.INVALID_ARGUMENT
    reason = "REQUEST_INVALID"


class OptionNotAllowed(RequestError):
    """The gateway's settings forbid an option of the request."""

    code = StatusCode.PERMISSION_DENIED
    reason = "OPTION_NOT_ALLOWED"


class ConfInvalid(RequestError):
    """The conf breaks the DAG's params. `violations` names them."""

    code = StatusCode.INVALID_ARGUMENT
    reason = "CONF_INVALID"


class RequestIdReused(RequestError):
    """The request id was used before with another conf."""

    code = StatusCode.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"


class ResultTaskUnknown(RequestError):
    """A result task is named that the DAG does not have.

    `FAILED_PRECONDITION` when it is not the request that names it.
    """

    code = StatusCode.INVALID_ARGUMENT
    reason = "RESULT_TASK_UNKNOWN"


class DagError(DagInferenceError):
    """The DAG cannot be called."""


class DagNotFound(DagError):
    """Airflow has no such DAG, or the gateway's account may not see it."""

    code = StatusCode.NOT_FOUND
    reason = "DAG_NOT_FOUND"


class DagNotAllowed(DagError):
    """The gateway does not serve that DAG."""

    code = StatusCode.PERMISSION_DENIED
    reason = "DAG_NOT_ALLOWED"


class DagPaused(DagError):
    """The DAG is paused."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "DAG_PAUSED"


class DagBroken(DagError):
    """The DAG's file has import errors, or the DAG is gone from it."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "DAG_BROKEN"


class DagNotTriggerable(DagError):
    """The DAG does not allow runs that are triggered from outside."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "DAG_NOT_TRIGGERABLE"


class RunError(DagInferenceError):
    """The run gave no result."""


class RunNotFound(RunError):
    """Airflow has no such run."""

    code = StatusCode.NOT_FOUND
    reason = "RUN_NOT_FOUND"


class RunNotOurs(RunError):
    """The run was not made by a gateway with this run id prefix."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "RUN_NOT_OURS"


class TaskFailed(RunError):
    """A task that the result depends on failed for good. `subject` names it.

    Where the gateway could read the task's log, the message ends with what the task raised. The
    operator may have chosen another code for the task, or for the exception.
    """

    code = StatusCode.ABORTED
    reason = "TASK_FAILED"

    @property
    def task_id(self) -> str | None:
        """The task."""
        return self.subject.task_id

    @property
    def exception_type(self) -> str | None:
        """The class of what it raised, without its module; `None` if that is not known."""
        return self.subject.exception_type


class RunCancelled(RunError):
    """The run was ended from outside."""

    code = StatusCode.ABORTED
    reason = "RUN_CANCELLED"


class RunDeleted(RunError):
    """The run was deleted while the call waited."""

    code = StatusCode.ABORTED
    reason = "RUN_DELETED"


class RunTimedOut(RunError):
    """The run failed without a failed task: its own timeout."""

    code = StatusCode.ABORTED
    reason = "RUN_TIMED_OUT"


class ResultError(DagInferenceError):
    """The run went well, and there is no result or none that can be sent."""


class ResultSkipped(ResultError):
    """Every result task was skipped."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "RESULT_SKIPPED"


class ResultTooLarge(ResultError):
    """The result is larger than the limit."""

    code = StatusCode.OUT_OF_RANGE
    reason = "RESULT_TOO_LARGE"


class ResultTooDeep(ResultError):
    """The result is nested deeper than a protobuf reader can decode."""

    code = StatusCode.OUT_OF_RANGE
    reason = "RESULT_TOO_DEEP"


class ResultTooManyMapIndexes(ResultError):
    """A mapped result task has more map indexes than the limit."""

    code = StatusCode.OUT_OF_RANGE
    reason = "RESULT_TOO_MANY_MAP_INDEXES"


class DeadlineExceeded(DagInferenceError):
    """The deadline passed first. With a `run_id` the run can be waited for."""

    code = StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class ServiceError(DagInferenceError):
    """The gateway or its Airflow is in trouble."""


class AirflowDenied(ServiceError):
    """Airflow refuses the gateway's account."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "AIRFLOW_DENIED"


class AirflowUnavailable(ServiceError):
    """Airflow does not answer, or not with its API."""

    code = StatusCode.UNAVAILABLE
    reason = "AIRFLOW_UNAVAILABLE"


class Overloaded(ServiceError):
    """The gateway has as many calls as it may have."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"


class ShuttingDown(ServiceError):
    """The gateway is going away."""

    code = StatusCode.UNAVAILABLE
    reason = "SHUTTING_DOWN"


class GatewayBug(ServiceError):
    """A fault of the gateway. The message holds an id for its log."""

    code = StatusCode.INTERNAL
    reason = "GATEWAY_BUG"


def _leaves(group: type[DagInferenceError]) -> Iterator[type[DagInferenceError]]:
    if group.reason:
        yield group
    for child in group.__subclasses__():
        yield from _leaves(child)


BY_REASON: Mapping[str, type[DagInferenceError]] = {
    leaf.reason: leaf for leaf in _leaves(DagInferenceError)
}
"""The class of each reason."""
