"""What is said on stderr while a call is under way."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol, Self

from dag_inference._cli.live import LiveProgress
from dag_inference._cli.plain import PlainProgress

if TYPE_CHECKING:
    from dag_inference import Event, Result


class Progress(Protocol):
    """A way to say it."""

    run_id: str | None
    """The run, as soon as it is known."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """End, whether the call went well or not."""

    def run_exists(self, run_id: str) -> None:
        """Say that the run id has arrived."""

    def event(self, event: Event) -> None:
        """Say what happened on the way."""

    def result(self, result: Result) -> None:
        """Say what there is to say about the result, its value aside."""


def progress_for_stderr() -> Progress:
    """Choose by who reads: a terminal gets a picture, anything else lines."""
    dumb = os.environ.get("TERM") == "dumb"
    return LiveProgress() if sys.stderr.isatty() and not dumb else PlainProgress()
