"""Progress as lines, for logs and pipes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from dag_inference import Accepted, Heartbeat, RunChanged, TaskInstanceChanged
from dag_inference._cli import stages
from dag_inference._cli.messages import say
from dag_inference._cli.tasks import name_of

if TYPE_CHECKING:
    from dag_inference import Event, Result, Run


class PlainProgress:
    """Says each thing once, with its time."""

    def __init__(self) -> None:
        """Know no run yet."""
        self.run_id: str | None = None
        self._said_url = ""

    def __enter__(self) -> Self:
        """Nothing to set up."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to tear down."""

    def run_exists(self, run_id: str) -> None:
        """Say the run id."""
        self.run_id = run_id
        _line(datetime.now(UTC), f"run {run_id}")

    def event(self, event: Event) -> None:
        """Say what changed."""
        match event:
            case Accepted(time, run):
                self.run_id = run.run_id
                _line(time, f"run {run.run_id} {run.state}")
                self._link(run)
            case RunChanged(time, run):
                _line(time, f"run {run.run_id} {run.state}")
            case TaskInstanceChanged(time, task_instance):
                _line(time, f"task {name_of(task_instance)} {task_instance.state}")
            case Heartbeat(time, state):
                _line(time, f"run {self.run_id} still {state}")

    def result(self, result: Result) -> None:
        """Say where the time went."""
        self._link(result.run)
        if summary := stages.line(result.timing):
            say(summary)

    def _link(self, run: Run) -> None:
        if run.url != self._said_url:
            self._said_url = run.url
            say(run.url)


def _line(time: datetime, text: str) -> None:
    local = time.astimezone()
    say(f"{local:%H:%M:%S}.{local.microsecond // 1000:03} {text}")
