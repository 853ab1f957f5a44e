"""Calls that the gateway itself refuses or leaves."""

from __future__ import annotations

from grpc import StatusCode

from integration.cases import AS_LAST_SEEN, RUN, Case, of_run

GATEWAY_ERRORS = [
    *(
        Case(
            name=name,
            code=StatusCode.RESOURCE_EXHAUSTED,
            reason="OVERLOADED",
            settings=settings,
            parked=1,
            metadata=metadata,
            retry=True,
        )
        for name, settings, metadata in (
            # Refused before it is read.
            ("calls", {"max_calls": 1}, {}),
            ("calls of the DAG", {"max_calls_per_dag": 1}, {"dag_id": "dag"}),
        )
    ),
    Case(
        name="with a run",
        code=StatusCode.UNAVAILABLE,
        reason="SHUTTING_DOWN",
        gateway_ends=True,
        metadata=of_run(AS_LAST_SEEN),
        retry=True,
    ),
    Case(
        name="with a run",
        code=StatusCode.INTERNAL,
        reason="GATEWAY_BUG",
        bug=True,
        metadata={"dag_id": "dag", "run_id": RUN},
    ),
]
