"""Failed tasks whose logs tell what they raised, and codes that the operator chose for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from grpc import StatusCode

from fakes.airflow import Dag, Kind, Task, faults, steps
from integration.cases import Case, of_run


class BadInput(Exception):
    """An exception of the DAG's author."""


def chained(cause: BaseException | None, context: BaseException) -> BadInput:
    """An exception that was raised from another one, or while another one was handled."""
    raised = BadInput("no such customer")
    raised.__cause__, raised.__context__ = cause, context
    return raised


def raised(
    name: str, raises: BaseException | None, says: str, kind: str | None, **more: Any
) -> Case:
    """A run whose result task fails."""
    metadata = {"exception_type": kind} if kind else {}
    fields: dict[str, Any] = {
        "code": StatusCode.ABORTED,
        "dag": lambda: Dag("dag", script=[steps.fail("predict", raises=raises)]),
        "metadata": of_run("running", task_id="predict", try_number="1", **metadata),
        "settings": {},
        **more,
    }
    fields["settings"] = {"default_deadline": 2, **fields["settings"]}
    return Case(name=name, reason="TASK_FAILED", says=says, **fields)


def invalid(name: str, settings: dict[str, Any], **more: Any) -> Case:
    """A failure that goes out as INVALID_ARGUMENT."""
    chosen = {"code": StatusCode.INVALID_ARGUMENT, "settings": settings, **more}
    return raised(name, ValueError("bad"), " on try 1: ValueError: bad", "ValueError", **chosen)


MAPPED = [
    steps.expand("predict", 3),
    steps.fail("predict", map_index=1, raises=ValueError("no 1")),
]
LOAD_AND_PREDICT = (Task("load", downstream=["predict"]), Task("predict"))
LOAD_FAILS = [
    steps.fail("load", raises=ValueError("bad")),
    steps.state("predict", "upstream_failed"),
]
AMONG_OTHERS = [
    steps.log("predict", "caught", KeyError("handled")),
    steps.log("predict", "Task failed with exception", ValueError("bad")),
    steps.log("predict", "Failed to run task callback", TypeError("in the callback")),
    steps.fail("predict"),
]
of_try: Callable[..., dict[str, str]] = partial(of_run, "running", try_number="1")

EXCEPTIONS = [
    raised("its text", ValueError("bad input"), ": ValueError: bad input", "ValueError"),
    raised("without a text", ValueError(), " on try 1: ValueError", "ValueError"),
    raised("of the author", BadInput("no", 3), ": BadInput: ('no', 3)", "BadInput"),
    *(
        raised(f"with a {kind}", raises, ": BadInput: no such customer", "BadInput")
        for kind, raises in (
            ("cause", chained(KeyError("x"), KeyError("x"))),
            ("context", chained(None, KeyError("x"))),
        )
    ),
    raised(
        "only its first line",
        ValueError("bad\nTraceback (most recent call last):\n  File …\nKeyError"),
        ": ValueError: bad",
        "ValueError",
    ),
    raised(
        "no control characters",
        ValueError("a\0b\tc\x1b[31md"),
        ": ValueError: a b c [31md",
        "ValueError",
    ),
    raised(
        "the one that ended the try",
        None,
        ": ValueError: bad",
        "ValueError",
        dag=partial(Dag, "dag", script=AMONG_OTHERS),
    ),
    raised(
        "of the last try",
        None,
        "predict failed on try 2: KeyError: 'x'",
        "KeyError",
        dag=lambda: Dag(
            "dag",
            script=[
                steps.log("predict", "Task failed with exception", ValueError("first")),
                steps.retry("predict"),
                steps.fail("predict", raises=KeyError("x")),
            ],
        ),
        metadata=of_run("running", task_id="predict", try_number="2", exception_type="KeyError"),
    ),
    raised(
        "of a map index",
        None,
        "predict [1] failed on try 1: ValueError: no 1",
        "ValueError",
        dag=partial(Dag, "dag", Task("predict", is_mapped=True), script=MAPPED),
        metadata=of_try(task_id="predict", map_index="1", exception_type="ValueError"),
    ),
    raised(
        "of the task before the result task",
        None,
        "load failed on try 1: ValueError: bad",
        "ValueError",
        dag=partial(Dag, "dag", *LOAD_AND_PREDICT, script=LOAD_FAILS),
        metadata=of_try(task_id="load", exception_type="ValueError"),
    ),
    raised(
        "not of a task that another one stopped",
        None,
        "because a task before it failed",
        None,
        dag=lambda: Dag(
            "dag", script=[steps.begin("predict"), steps.state("predict", "upstream_failed")]
        ),
        settings={"task_codes": {"dag": {"predict": "NOT_FOUND"}}},
        metadata=of_try(task_id="predict"),
    ),
    raised("marked by hand", None, "predict failed on try 1", None),
    raised(
        "not asked for",
        ValueError("bad"),
        "predict failed on try 1",
        None,
        settings={"task_exceptions": False},
    ),
    invalid("by task", {"task_codes": {"dag": {"predict": "INVALID_ARGUMENT"}}}),
    invalid("by exception", {"exception_codes": {"ValueError": "INVALID_ARGUMENT"}}),
    invalid(
        "by task before exception",
        {
            "task_codes": {"dag": {"predict": "INVALID_ARGUMENT"}},
            "exception_codes": {"ValueError": "NOT_FOUND"},
        },
    ),
    invalid(
        "by the task that failed before the result task",
        {"task_codes": {"dag": {"load": "INVALID_ARGUMENT", "predict": "NOT_FOUND"}}},
        dag=partial(Dag, "dag", *LOAD_AND_PREDICT, script=LOAD_FAILS),
        metadata=of_try(task_id="load", exception_type="ValueError"),
    ),
    raised(
        "by task where the log may not be read",
        ValueError("bad"),
        "predict failed on try 1",
        None,
        code=StatusCode.INVALID_ARGUMENT,
        before=lambda airflow: airflow.faults.add(faults.refused(403, "Forbidden"), Kind.LOG),
        settings={
            "task_codes": {"dag": {"predict": "INVALID_ARGUMENT"}},
            "exception_codes": {"ValueError": "NOT_FOUND"},
        },
    ),
    raised(
        "of another DAG or exception",
        ValueError("bad"),
        ": ValueError: bad",
        "ValueError",
        settings={
            "task_codes": {"gad": {"predict": "INVALID_ARGUMENT"}},
            "exception_codes": {"KeyError": "NOT_FOUND", "Exception": "NOT_FOUND"},
        },
    ),
]
