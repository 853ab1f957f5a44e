"""Runs that give no result, or none that can be sent, or none in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.ending.notes import cancelled
from dag_inference_server.invocation.run_ids import RunIds
from fakes.airflow import TEARDOWN_RULE, Dag, Kind, Task, faults, steps
from integration.cases import AS_LAST_SEEN, ROUNDS, Case, of_run
from integration.run_ids import ours


def failed(name: str, dag: Callable[[], Dag], **metadata: str) -> Case:
    """A run that has a failed task."""
    return Case(
        name=name,
        code=StatusCode.ABORTED,
        reason="TASK_FAILED",
        dag=dag,
        settings={"default_deadline": 1},
        metadata=of_run(**{"state": "running", "try_number": "1", **metadata}),
    )


def nested(depth: int) -> Any:
    """An object so many levels deep."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


LOAD_AND_PREDICT = (Task("load", downstream=["predict"]), Task("predict"))
CLEAN_UP = Task("clean_up", trigger_rule="all_done")

RUN_ERRORS = [
    failed(
        "result task, run goes on",
        lambda: Dag("dag", script=[steps.fail("predict")]),
        task_id="predict",
    ),
    failed(
        "result task, on its second try",
        lambda: Dag("dag", script=[steps.retry("predict"), steps.fail("predict")]),
        task_id="predict",
        try_number="2",
    ),
    failed(
        "a task before the result task",
        lambda: Dag(
            "dag",
            *LOAD_AND_PREDICT,
            script=[steps.fail("load"), steps.state("predict", "upstream_failed")],
        ),
        task_id="load",
    ),
    failed(
        "an instance of a mapped result task",
        lambda: Dag(
            "dag",
            Task("predict", is_mapped=True),
            script=[
                steps.expand("predict", 3),
                steps.finish("predict", 1, map_index=0),
                steps.fail("predict", map_index=1),
            ],
        ),
        task_id="predict",
        map_index="1",
    ),
    failed(
        "result task unknown, its clean-up succeeded and so did the run",
        lambda: Dag(
            "dag",
            Task("predict", downstream=["clean_up"]),
            CLEAN_UP,
            source=None,
            script=[steps.fail("predict"), steps.finish("clean_up"), steps.end("success")],
        ),
        state="success",
        task_id="predict",
    ),
    failed(
        "no result task, a branch failed and the run succeeded",
        lambda: Dag(
            "dag",
            Task("left"),
            Task("right"),
            script=[steps.fail("left"), steps.finish("right"), steps.end("success")],
        ),
        state="success",
        task_id="left",
    ),
    *(
        failed(
            f"with fail_fast, told at once, the result task {name}",
            partial(
                Dag,
                "dag",
                Task("side"),
                Task("predict", ["tidy"]),
                Task("tidy", trigger_rule=TEARDOWN_RULE),
                tags=["result:predict"],
                script=[*script, steps.fail_fast("side"), steps.begin("tidy")],
            ),
            task_id="side",
        )
        for name, script in (("waiting", []), ("running", [steps.begin("predict")]))
    ),
    failed(
        "before somebody marked the run failed",
        lambda: Dag("dag", script=[steps.fail("predict"), steps.mark("failed")]),
        state="failed",
        task_id="predict",
    ),
    failed(
        "result task is no longer part of the DAG",
        lambda: Dag("dag", script=[steps.start(), steps.state("predict", "removed")]),
        task_id="predict",
        try_number="0",
    ),
    failed(
        "one of two result tasks, while the other still runs",
        lambda: Dag(
            "dag",
            Task("slow", is_result=True),
            Task("zealous", is_result=True),
            script=[steps.begin("slow"), steps.fail("zealous")],
        ),
        task_id="zealous",
    ),
    Case(
        name="while the run was queued",
        code=StatusCode.FAILED_PRECONDITION,
        reason="DAG_PAUSED",
        dag=lambda: Dag("dag", script=[steps.pause()]),
        settings=ROUNDS,
        metadata=of_run("queued"),
    ),
    Case(
        name="by its own timeout",
        code=StatusCode.ABORTED,
        reason="RUN_TIMED_OUT",
        dag=lambda: Dag(
            "dag",
            script=[steps.start(), steps.state("predict", "skipped"), steps.end("failed")],
        ),
        metadata=of_run("failed"),
    ),
    *(
        Case(
            name=name,
            code=StatusCode.ABORTED,
            reason="RUN_CANCELLED",
            dag=partial(
                Dag, "dag", *tasks, script=[*script, steps.cancel(cancelled("by request"))]
            ),
            metadata=of_run(state),
        )
        for name, state, tasks, script in (
            ("while queued", "failed", [Task("predict")], []),
            ("while its result task ran", "failed", [Task("predict")], [steps.begin("predict")]),
            (
                "with a teardown that goes on",
                "running",
                [Task("predict", ["tidy"]), Task("tidy", trigger_rule=TEARDOWN_RULE)],
                [steps.start()],
            ),
        )
    ),
    *(
        Case(
            name=f"by somebody else, {name}",
            code=StatusCode.ABORTED,
            reason="RUN_CANCELLED",
            dag=partial(Dag, "dag", *tasks, script=[*script, steps.mark(mark)]),
            metadata=of_run(state),
        )
        for name, mark, state, tasks, script in (
            ("while queued", "failed", "failed", [Task("predict")], []),
            ("while it ran", "failed", "failed", [Task("predict")], [steps.begin("predict")]),
            ("as success", "success", "success", [Task("predict")], [steps.start()]),
            (
                "with a teardown that goes on",
                "failed",
                "running",
                [Task("predict", ["tidy"]), Task("tidy", trigger_rule=TEARDOWN_RULE)],
                [steps.begin("predict")],
            ),
        )
    ),
    Case(
        name="by somebody else, and the event log may not be read",
        code=StatusCode.ABORTED,
        reason="RUN_TIMED_OUT",
        dag=lambda: Dag("dag", script=[steps.start(), steps.mark("failed")]),
        before=lambda airflow: airflow.faults.add(faults.refused(403, "Forbidden"), Kind.EVENTS),
        metadata=of_run("failed"),
    ),
    replace(
        failed(
            "with fail_fast, and the event log may not be read",
            lambda: Dag(
                "dag",
                Task("side"),
                Task("predict"),
                tags=["result:predict"],
                script=[steps.fail_fast("side"), steps.end("failed")],
            ),
            state="failed",
            task_id="side",
        ),
        before=lambda airflow: airflow.faults.add(faults.refused(403, "Forbidden"), Kind.EVENTS),
    ),
    Case(
        name="beside a failure that it does not depend on",
        code=StatusCode.FAILED_PRECONDITION,
        reason="RESULT_SKIPPED",
        dag=lambda: Dag(
            "dag",
            Task("side"),
            Task("predict"),
            tags=["result:predict"],
            script=[steps.fail("side"), steps.state("predict", "skipped")],
        ),
        metadata=of_run("running", task_id="predict", try_number="0"),
    ),
    Case(
        name="while it ran",
        code=StatusCode.ABORTED,
        reason="RUN_DELETED",
        dag=lambda: Dag("dag", script=[steps.start(), steps.delete()]),
        settings=ROUNDS,
        metadata=of_run("queued"),
    ),
    Case(
        name="just after its task failed",
        code=StatusCode.ABORTED,
        reason="RUN_DELETED",
        dag=lambda: Dag("dag", script=[steps.fail("predict")]),
        before=lambda airflow: airflow.faults.add(
            faults.just_before(lambda: airflow.made[0].delete()),  # noqa: PLW0108 - made later
            Kind.RUN,
            times=1,
        ),
        metadata=of_run("queued"),
    ),
    Case(
        name="by a branch",
        code=StatusCode.FAILED_PRECONDITION,
        reason="RESULT_SKIPPED",
        dag=lambda: Dag("dag", script=[steps.start(), steps.state("predict", "skipped")]),
        metadata=of_run("running", task_id="predict", try_number="0"),
    ),
    Case(
        name="larger than the setting",
        code=StatusCode.OUT_OF_RANGE,
        reason="RESULT_TOO_LARGE",
        dag=lambda: Dag("dag", script=[steps.finish("predict", "x" * 2000), steps.end()]),
        settings={"max_result_bytes": 1024},
        metadata=of_run(AS_LAST_SEEN),
    ),
    *(
        Case(
            name=f"{depth} levels",
            code=StatusCode.OUT_OF_RANGE,
            reason="RESULT_TOO_DEEP",
            dag=partial(Dag, "dag", script=[steps.finish("predict", nested(depth)), steps.end()]),
            settings={"default_deadline": 1},
            metadata=of_run(AS_LAST_SEEN),
        )
        for depth in (31, 190, 240)
    ),
    Case(
        name="larger as a Struct than its JSON",
        code=StatusCode.OUT_OF_RANGE,
        reason="RESULT_TOO_LARGE",
        dag=lambda: Dag("dag", script=[steps.finish("predict", [1] * 400), steps.end()]),
        settings={"max_result_bytes": 1024},
        metadata=of_run(AS_LAST_SEEN),
    ),
    Case(
        name="larger than what is read",
        code=StatusCode.OUT_OF_RANGE,
        reason="RESULT_TOO_LARGE",
        dag=lambda: Dag("dag", script=[steps.finish("predict", "x" * 5000), steps.end()]),
        settings={"max_result_bytes": 1024},
        metadata=of_run(AS_LAST_SEEN),
    ),
    Case(
        name="three of two",
        code=StatusCode.OUT_OF_RANGE,
        reason="RESULT_TOO_MANY_MAP_INDEXES",
        dag=lambda: Dag(
            "dag",
            Task("predict", is_mapped=True),
            script=[
                steps.expand("predict", 3),
                *(steps.finish("predict", n, map_index=n) for n in range(3)),
                steps.end(),
            ],
        ),
        settings={"max_map_indexes": 2},
        metadata=of_run(AS_LAST_SEEN),
    ),
    Case(
        name="run queued",
        code=StatusCode.DEADLINE_EXCEEDED,
        reason="DEADLINE_EXCEEDED",
        settings={"default_deadline": 1.5},
        metadata=of_run("queued"),
    ),
    Case(
        name="run started",
        code=StatusCode.DEADLINE_EXCEEDED,
        reason="DEADLINE_EXCEEDED",
        dag=lambda: Dag("dag", script=[steps.begin("predict")]),
        settings={"default_deadline": 1.5},
        metadata=of_run("running"),
    ),
    Case(
        name="trigger unanswered",
        code=StatusCode.DEADLINE_EXCEEDED,
        reason="DEADLINE_EXCEEDED",
        before=lambda airflow: airflow.faults.add(faults.hanging(), Kind.TRIGGER),
        settings={"default_deadline": 0.2},
    ),
]

UNKNOWN, FOREIGN = ours("unknown"), "manual__2026-01-01"

NO_RUN_OF_THE_CALL = [
    Case(
        name="waited for",
        code=StatusCode.NOT_FOUND,
        reason="RUN_NOT_FOUND",
        request=pb.WaitRequest(dag_id="dag", run_id=UNKNOWN),
        metadata={"dag_id": "dag", "run_id": UNKNOWN},
        resource=("run", UNKNOWN),
    ),
    Case(
        name="waited for",
        code=StatusCode.FAILED_PRECONDITION,
        reason="RUN_NOT_OURS",
        request=pb.WaitRequest(dag_id="dag", run_id=FOREIGN),
        metadata={"dag_id": "dag", "run_id": FOREIGN},
        asks=False,
    ),
    Case(
        name="for another conf",
        code=StatusCode.ALREADY_EXISTS,
        reason="REQUEST_ID_REUSED",
        request=pb.InvokeRequest(dag_id="dag", request_id="mine"),
        there=RunIds("grpc").make("dag", "mine"),
        metadata=of_run("queued"),
    ),
]
