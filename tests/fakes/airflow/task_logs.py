"""Task logs, as Airflow's task runner writes them and its API hands them out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

Line: TypeAlias = dict[str, Any]

TASK_FAILED = "Task failed with exception"
"""What the task runner says of the exception that a task raised (`task_runner.py`, 3.1 to 3.3)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was logged."""

    when: datetime
    event: str
    raised: BaseException | None = None


def lines(entries: Sequence[Entry], of: Line) -> list[Line]:
    """A log as the API tells it: where it lies, then what was logged, each with what it is `of`."""
    return [
        {"timestamp": None, "event": "::group::Log message source details"},
        {"timestamp": None, "event": "/opt/airflow/logs/attempt=1.log"},
        {"timestamp": None, "event": "::endgroup::"},
        *(_line(entry) | of for entry in entries),
    ]


def ndjson(of: Sequence[Line]) -> bytes:
    """Lines as a stream of JSON."""
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in of)


def _line(entry: Entry) -> Line:
    line: Line = {
        "timestamp": entry.when.isoformat().replace("+00:00", "Z"),
        "event": entry.event,
        "level": "error" if entry.raised else "info",
        "logger": "task",
        "filename": "task_runner.py",
        "lineno": 1676,
    }
    if entry.raised is not None:
        line["error_detail"] = [_detail(*of) for of in _chain(entry.raised)]
    return line


def _chain(raised: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """What was raised, and then what led to it, each with whether it was named as the cause."""
    one: BaseException | None = raised
    is_cause = False
    while one is not None:
        yield one, is_cause
        is_cause = one.__cause__ is not None
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _detail(one: BaseException, is_cause: bool) -> Line:
    """What `structlog.tracebacks` makes of an exception."""
    return {
        "exc_type": type(one).__name__,
        "exc_value": str(one),
        "exc_notes": [],
        "syntax_error": None,
        "is_cause": is_cause,
        "frames": [{"filename": "/dags/dag.py", "lineno": 7, "name": "predict"}],
        "is_group": False,
        "exceptions": [],
    }
