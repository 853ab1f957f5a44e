"""DAGs that cannot be called, or not like this: no run is made."""

from __future__ import annotations

from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, Kind, faults
from integration.cases import Case, conf

DAG_ERRORS = [
    Case(
        name="named by the request",
        code=StatusCode.PERMISSION_DENIED,
        reason="OPTION_NOT_ALLOWED",
        request=pb.InvokeRequest(dag_id="dag", result_task_ids=["predict"]),
        settings={"allow_result_task_ids": False},
        asks=False,
    ),
    Case(
        name="unknown",
        code=StatusCode.NOT_FOUND,
        reason="DAG_NOT_FOUND",
        request=pb.InvokeRequest(dag_id="gad"),
        metadata={"dag_id": "gad"},
        resource=("dag", "gad"),
    ),
    Case(
        name="gone before the trigger",
        code=StatusCode.NOT_FOUND,
        reason="DAG_NOT_FOUND",
        before=lambda airflow: airflow.faults.add(
            faults.refused(404, "Dag with dag_id: 'dag' not found"), Kind.TRIGGER
        ),
        resource=("dag", "dag"),
    ),
    Case(
        name="by name",
        code=StatusCode.PERMISSION_DENIED,
        reason="DAG_NOT_ALLOWED",
        settings={"dags": ("public_*", "da")},
        asks=False,
    ),
    Case(
        name="paused",
        code=StatusCode.FAILED_PRECONDITION,
        reason="DAG_PAUSED",
        dag=lambda: Dag("dag", is_paused=True),
    ),
    Case(
        name="import errors",
        code=StatusCode.FAILED_PRECONDITION,
        reason="DAG_BROKEN",
        dag=lambda: Dag("dag", has_import_errors=True),
    ),
    Case(
        name="gone from its file",
        code=StatusCode.FAILED_PRECONDITION,
        reason="DAG_BROKEN",
        dag=lambda: Dag("dag", is_stale=True),
    ),
    Case(
        name="broken just before the trigger",
        code=StatusCode.FAILED_PRECONDITION,
        reason="DAG_BROKEN",
        before=lambda airflow: airflow.faults.add(
            faults.refused(400, "Dag with dag_id: 'dag' has import errors and cannot be triggered"),
            Kind.TRIGGER,
        ),
    ),
    Case(
        name="scheduled runs only",
        code=StatusCode.FAILED_PRECONDITION,
        reason="DAG_NOT_TRIGGERABLE",
        dag=lambda: Dag("dag", allowed_run_types=["scheduled"]),
    ),
    Case(
        name="changed just before the trigger",
        code=StatusCode.FAILED_PRECONDITION,
        reason="DAG_NOT_TRIGGERABLE",
        before=lambda airflow: airflow.faults.add(
            faults.refused(400, "Dag with dag_id: 'dag' does not allow manual runs"), Kind.TRIGGER
        ),
    ),
    Case(
        name="named by the request",
        code=StatusCode.INVALID_ARGUMENT,
        reason="RESULT_TASK_UNKNOWN",
        request=pb.InvokeRequest(dag_id="dag", result_task_ids=["predict", "predcit"]),
        metadata={"dag_id": "dag", "task_id": "predcit"},
    ),
    Case(
        name="named by a tag",
        code=StatusCode.FAILED_PRECONDITION,
        reason="RESULT_TASK_UNKNOWN",
        dag=lambda: Dag("dag", tags=["team:ml", "result:predcit"]),
        metadata={"dag_id": "dag", "task_id": "predcit"},
    ),
    Case(
        name="named by a setting",
        code=StatusCode.FAILED_PRECONDITION,
        reason="RESULT_TASK_UNKNOWN",
        settings={"result_tasks": {"dag": ("predcit",)}},
        metadata={"dag_id": "dag", "task_id": "predcit"},
    ),
    Case(
        name="several params",
        code=StatusCode.INVALID_ARGUMENT,
        reason="CONF_INVALID",
        request=conf(size="large", **{"unit.price": {"amount": -1}}),
        dag=lambda: Dag(
            "dag",
            params={
                "name": {"schema": {"type": "string"}},
                "size": {"schema": {"type": "integer"}, "value": 1},
                "unit.price": {"schema": {"properties": {"amount": {"minimum": 0}}}},
            },
        ),
        violations=["conf.name", "conf.size", 'conf["unit.price"].amount'],
    ),
    Case(
        name="a param that only Airflow judges",
        code=StatusCode.INVALID_ARGUMENT,
        reason="CONF_INVALID",
        request=conf(size="large"),
        dag=lambda: Dag(
            "dag",
            refuse=lambda conf: (
                f"Invalid input for param size: {conf['size']!r} is not of type "
                "'integer'\n\nFailed validating 'type' in schema:\n    {'type': 'integer'}"
            ),
        ),
        violations=["conf.size"],
    ),
]
