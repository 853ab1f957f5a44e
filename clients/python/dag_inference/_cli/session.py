"""From a command to its exit code."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from dag_inference._cli.exits import Exit, exit_of
from dag_inference._cli.messages import say_failure, say_interrupted
from dag_inference._cli.progress import progress_for_stderr
from dag_inference._events import Completed
from dag_inference.client import DagInferenceClient
from dag_inference.errors import DagInferenceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dag_inference import Event, Result
    from dag_inference._cli.messages import WayBack
    from dag_inference._cli.progress import Progress


@contextmanager
def session(back: WayBack) -> Iterator[tuple[DagInferenceClient, Progress]]:
    """Lend a client and somebody who tells of progress; turn errors into exit codes."""
    progress = progress_for_stderr()
    try:
        with DagInferenceClient(back.target) as client, progress:
            yield client, progress
    except DagInferenceError as error:
        say_failure(error, back)
        raise typer.Exit(exit_of(error)) from None
    except KeyboardInterrupt:
        say_interrupted(progress.run_id, back)
        raise typer.Exit(Exit.INTERRUPTED) from None


def completed(events: Iterable[Event], progress: Progress) -> Result:
    """Tell of the events, and return what the last one holds."""
    for event in events:
        if isinstance(event, Completed):
            return event.result
        progress.event(event)
    raise DagInferenceError("the stream ended without a result")
