"""What a task raised, from what its log says: a pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dag_inference_server.airflow import LogLine

_FAILED = "Task failed with exception"
"""What the line says that tells why a task failed (`airflow/sdk/execution_time/task_runner.py`,
3.1 to 3.3). Before it stand exceptions that the task has handled itself, after it those of its
callbacks and listeners."""

_LONGEST_TYPE, _LONGEST_MESSAGE = 100, 300
"""Characters that go into an error. The rest is in the log."""

_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True, slots=True)
class TaskException:
    """What a task raised, fit for an error's text: on one line, and not too long."""

    type: str
    """The name of its class, without the module, as Airflow's log has it."""
    message: str
    """The first line of its text; empty if it has none, or if that is a stack trace."""

    def __str__(self) -> str:
        """As Python would print it."""
        return f"{self.type}: {self.message}" if self.message else self.type


def exception_in(lines: Sequence[LogLine]) -> TaskException | None:
    """The exception that ended a try of a task, if the lines of its log tell of one.

    The one that was raised, and not what it was raised from: what the author chose to raise
    is what the caller is to know.
    """
    for line in reversed(lines):
        if line.event == _FAILED and line.error_detail:
            raised = line.error_detail[0]
            name = _printable(raised.exc_type, _LONGEST_TYPE)
            return TaskException(name, _message(raised.exc_value)) if name else None
    return None


def _message(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return "" if _TRACEBACK in first else _printable(first, _LONGEST_MESSAGE)


def _printable(text: str, longest: int) -> str:
    """The text without what could steer a terminal, or could not be sent."""
    words = "".join(c if c.isprintable() else " " for c in text[: 2 * longest]).split()
    plain = " ".join(words)
    return plain if len(plain) <= longest else plain[:longest].rstrip() + "…"
