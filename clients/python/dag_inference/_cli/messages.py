"""What is said of calls that got no result."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer
from grpc import StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dag_inference._requests import KeepOrCancel
    from dag_inference.errors import DagInferenceError, Subject

_MAY_GO_ON = {StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAVAILABLE, StatusCode.CANCELLED}
"""Statuses after which the run may still be on its way."""


@dataclass(frozen=True, slots=True)
class WayBack:
    """How to come back to a run."""

    dag_id: str
    target: str
    request_id: str | None = None
    on_deadline: KeepOrCancel = "keep"
    on_disconnect: KeepOrCancel = "keep"

    def to(self, run_id: str | None) -> str | None:
        """What to do, in a sentence; `None` if there is no way."""
        if run_id:
            wait = ["dag-inference", "wait", "--target", self.target, self.dag_id, run_id]
            return f"come back with: {shlex.join(wait)}"
        if self.request_id:
            again = f"--request-id {shlex.quote(self.request_id)}"
            return f"repeat the command with {again}: it cannot make a second run"
        return None


def say(line: str) -> None:
    """Print a line on stderr, without characters that could steer a terminal."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    typer.echo(shown, err=True)


def say_failure(error: DagInferenceError, back: WayBack) -> None:
    """Say what went wrong, with what, and what to do."""
    first, *more = str(error).splitlines()
    say(first)
    for line in (*more, *_about(error.subject), *_advice(error, back)):
        say(f"  {line}")


def say_interrupted(run_id: str | None, back: WayBack) -> None:
    """Say what becomes of the run that the user broke off from."""
    if back.on_disconnect == "cancel":
        run = f"The run {run_id}" if run_id else "The run, if there is one,"
        say(f"Interrupted. {run} is cancelled, unless others wait for it.")
        return
    say(f"Interrupted. The run {run_id} goes on." if run_id else "Interrupted.")
    if way := back.to(run_id):
        say(f"  {way}")


def _about(subject: Subject) -> Iterator[str]:
    if subject.dag_id:
        yield f"DAG {subject.dag_id}"
    if subject.run_id:
        yield f"run {subject.run_id}" + (f", {subject.run_state}" if subject.run_state else "")
    if subject.task_id:
        index = "" if subject.map_index is None else f"[{subject.map_index}]"
        tries = f", try {subject.try_number}" if subject.try_number else ""
        exception = f", {subject.exception_type}" if subject.exception_type else ""
        yield f"task {subject.task_id}{index}{tries}{exception}"


def _advice(error: DagInferenceError, back: WayBack) -> Iterator[str]:
    for violation in error.violations:
        yield f"{violation.field}: {violation.description}"
    if error.retry_after is not None:
        yield f"repeat after {error.retry_after.total_seconds():g} s"
    is_ended = error.code is StatusCode.DEADLINE_EXCEEDED and back.on_deadline == "cancel"
    if error.code in _MAY_GO_ON and not is_ended and (way := back.to(error.run_id)):
        yield way
