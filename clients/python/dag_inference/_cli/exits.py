"""Exit codes: what scripts can rely on."""

from __future__ import annotations

from enum import IntEnum

from grpc import StatusCode

from dag_inference.errors import (
    AirflowDenied,
    DagError,
    DagInferenceError,
    DeadlineExceeded,
    GatewayBug,
    RequestError,
    ResultError,
    ResultTaskUnknown,
    RunError,
    ServiceError,
)


class Exit(IntEnum):
    """How a command ended."""

    RESULT = 0
    NO_RESULT = 1
    BAD_REQUEST = 2
    NOT_CALLABLE = 3
    DEADLINE = 4
    UNAVAILABLE = 5
    BUG = 6
    INTERRUPTED = 130


MEANING: dict[Exit, str] = {
    Exit.RESULT: "there is a result, and it is on stdout",
    Exit.NO_RESULT: "the run gave no result: it failed, was cancelled, was skipped ...",
    Exit.BAD_REQUEST: "bad usage, bad request, or a conf that breaks the DAG's params",
    Exit.NOT_CALLABLE: "the DAG cannot be called: not found, not allowed, paused, broken ...",
    Exit.DEADLINE: "the deadline passed; the run may go on",
    Exit.UNAVAILABLE: "the gateway or its Airflow is unavailable or full: repeat later",
    Exit.BUG: "a fault of the gateway, or anything else",
    Exit.INTERRUPTED: "interrupted with Ctrl-C; the run may go on",
}
"""One line for each, in the order of the codes."""

_BY_CLASS: dict[type[DagInferenceError], Exit] = {
    # Airflow's refusal and a bug are no outages: repeating does not help.
    AirflowDenied: Exit.NOT_CALLABLE,
    GatewayBug: Exit.BUG,
    RunError: Exit.NO_RESULT,
    ResultError: Exit.NO_RESULT,
    RequestError: Exit.BAD_REQUEST,
    DagError: Exit.NOT_CALLABLE,
    DeadlineExceeded: Exit.DEADLINE,
    ServiceError: Exit.UNAVAILABLE,
}
"""The first class that fits decides."""

_BY_STATUS: dict[StatusCode, Exit] = {
    StatusCode.UNAVAILABLE: Exit.UNAVAILABLE,
    StatusCode.CANCELLED: Exit.UNAVAILABLE,
    StatusCode.RESOURCE_EXHAUSTED: Exit.UNAVAILABLE,
    StatusCode.INVALID_ARGUMENT: Exit.BAD_REQUEST,
    StatusCode.ABORTED: Exit.NO_RESULT,
}
"""For errors that are in no class: not from a gateway, or from a newer one."""


def exit_of(error: DagInferenceError) -> Exit:
    """Find the exit code of an error."""
    if isinstance(error, ResultTaskUnknown) and error.code is StatusCode.FAILED_PRECONDITION:
        # The DAG or the gateway names it, and the caller cannot mend that.
        return Exit.NOT_CALLABLE
    fitting = (code for kind, code in _BY_CLASS.items() if isinstance(error, kind))
    return next(fitting, _BY_STATUS.get(error.code, Exit.BUG))


def table() -> list[str]:
    """The exit codes and their meaning, one line each."""
    return [f"{code.value:>3}  {meaning}" for code, meaning in MEANING.items()]
