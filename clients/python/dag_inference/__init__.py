"""Call an Apache Airflow DAG like any other gRPC method.

    from dag_inference import DagInferenceClient

    with DagInferenceClient("127.0.0.1:50051") as client:
        print(client.invoke("classify_iris", {"instances": [[5.1, 3.5, 1.4, 0.2]]}))

The contract is `dag_inference.proto`; its stubs are in `dag_inference.v1`.
"""

from dag_inference._dags import Dag, DagAvailability
from dag_inference._events import (
    Accepted,
    Completed,
    Event,
    Heartbeat,
    RunChanged,
    TaskInstanceChanged,
)
from dag_inference._requests import InvokeOptions, KeepOrCancel, WaitOptions
from dag_inference._results import Result, ResultKind, ResultReference, ResultRule
from dag_inference._runs import Run, RunState, TaskInstance, TaskInstanceState
from dag_inference._timing import Timing
from dag_inference.aio import AsyncDagInferenceClient
from dag_inference.client import DagInferenceClient
from dag_inference.errors import (
    AirflowDenied,
    AirflowUnavailable,
    ConfInvalid,
    DagBroken,
    DagError,
    DagInferenceError,
    DagNotAllowed,
    DagNotFound,
    DagNotTriggerable,
    DagPaused,
    DeadlineExceeded,
    GatewayBug,
    OptionNotAllowed,
    Overloaded,
    RequestError,
    RequestIdReused,
    RequestInvalid,
    ResultError,
    ResultSkipped,
    ResultTaskUnknown,
    ResultTooDeep,
    ResultTooLarge,
    ResultTooManyMapIndexes,
    RunCancelled,
    RunDeleted,
    RunError,
    RunNotFound,
    RunNotOurs,
    RunTimedOut,
    ServiceError,
    ShuttingDown,
    Subject,
    TaskFailed,
    Violation,
)

__all__ = [
    "Accepted",
    "AirflowDenied",
    "AirflowUnavailable",
    "AsyncDagInferenceClient",
    "Completed",
    "ConfInvalid",
    "Dag",
    "DagAvailability",
    "DagBroken",
    "DagError",
    "DagInferenceClient",
    "DagInferenceError",
    "DagNotAllowed",
    "DagNotFound",
    "DagNotTriggerable",
    "DagPaused",
    "DeadlineExceeded",
    "Event",
    "GatewayBug",
    "Heartbeat",
    "InvokeOptions",
    "KeepOrCancel",
    "OptionNotAllowed",
    "Overloaded",
    "RequestError",
    "RequestIdReused",
    "RequestInvalid",
    "Result",
    "ResultError",
    "ResultKind",
    "ResultReference",
    "ResultRule",
    "ResultSkipped",
    "ResultTaskUnknown",
    "ResultTooDeep",
    "ResultTooLarge",
    "ResultTooManyMapIndexes",
    "Run",
    "RunCancelled",
    "RunChanged",
    "RunDeleted",
    "RunError",
    "RunNotFound",
    "RunNotOurs",
    "RunState",
    "RunTimedOut",
    "ServiceError",
    "ShuttingDown",
    "Subject",
    "TaskFailed",
    "TaskInstance",
    "TaskInstanceChanged",
    "TaskInstanceState",
    "Timing",
    "Violation",
    "WaitOptions",
]
