"""What a task raised, by its log."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dag_inference_server.airflow import LoggedException, LogLine
from dag_inference_server.invocation.exception import TaskException, exception_in

FAILED = "Task failed with exception"


def line(event: str, *chain: tuple[str, str]) -> LogLine:
    """A line as Airflow writes it, with all that it says of an exception."""
    detail = [
        {
            "exc_type": kind,
            "exc_value": text,
            "exc_notes": [],
            "syntax_error": None,
            "is_cause": number > 0,
            "frames": [{"filename": "/dags/dag.py", "lineno": 3, "name": "predict"}],
            "is_group": False,
            "exceptions": [],
        }
        for number, (kind, text) in enumerate(chain)
    ]
    whole = {"timestamp": "2026-03-01T12:00:00Z", "level": "error", "logger": "task"}
    return LogLine.model_validate_json(
        json.dumps({**whole, "event": event, "error_detail": detail})
    )


def test_what_ended_the_try() -> None:
    """Its class and its text."""
    assert exception_in([line(FAILED, ("ValueError", "bad input"))]) == TaskException(
        "ValueError", "bad input"
    )


@pytest.mark.parametrize("kind", ["KeyError", "RuntimeError"])
def test_what_was_raised_and_not_what_it_was_raised_from(kind: str) -> None:
    """Of a chain, the author's choice is the first; causes and contexts come after it."""
    lines = [line(FAILED, ("BadInput", "no such customer"), (kind, "'x'"), ("OSError", ""))]

    assert exception_in(lines) == TaskException("BadInput", "no such customer")


def test_what_the_task_handled_itself_is_not_what_ended_it() -> None:
    """Nor is what its callbacks raised afterwards."""
    lines = [
        line("caught", ("KeyError", "handled")),
        line(FAILED, ("ValueError", "bad input")),
        line("Failed to run task callback", ("TypeError", "in the callback")),
    ]

    assert exception_in(lines) == TaskException("ValueError", "bad input")


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [line("caught", ("KeyError", "handled"))],
        [line(FAILED)],
        [line(FAILED, ("", "nameless"))],
    ],
)
def test_a_try_that_did_not_end_with_an_exception(lines: list[LogLine]) -> None:
    """Killed, left by `sys.exit`, or marked by hand: nothing is made up."""
    assert exception_in(lines) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "ValueError"),
        ("bad", "ValueError: bad"),
        ('  \n\n  bad input  \n  File "dag.py", line 3', "ValueError: bad input"),
        ("2 errors\r\nfield\r\n  missing", "ValueError: 2 errors"),
        ("a\tb\x00c\x1b[31md\u202ee", "ValueError: a b c [31md e"),
        ("Traceback (most recent call last):\n  File …\nKeyError", "ValueError"),
        ('\n"""\nTraceback (most recent call last):', 'ValueError: """'),
        ("x" * 1000, f"ValueError: {'x' * 300}…"),
        ("zu groß: 😀", "ValueError: zu groß: 😀"),
    ],
)
def test_one_line_that_can_be_shown(text: str, told: str) -> None:
    """Not more than an error has room for, without stack traces and control characters."""
    assert str(exception_in([line(FAILED, ("ValueError", text))])) == told


@given(kind=st.text(), text=st.text())
def test_whatever_a_task_raises(kind: str, text: str) -> None:
    """What is told is printable, short and can be sent."""
    raised = LoggedException(exc_type=kind, exc_value=text)
    told = exception_in([LogLine(event=FAILED, error_detail=(raised,))])

    if told is not None:
        assert told.type
        assert str(told).isprintable()
        assert len(str(told)) <= 405
        str(told).encode()
