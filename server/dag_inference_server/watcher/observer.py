"""Who is told of the watcher's looks. The watcher knows no metrics."""

from __future__ import annotations

from typing import Protocol

from dag_inference_server.airflow import DagRun


class WatcherObserver(Protocol):
    """Is told of every look, and of every end of a run that one shows."""

    def looked(self, kind: str, since: tuple[float, float] | None, *, heard: bool) -> None:
        """One look was made.

        Args:
            kind: What for: `calls`, `streams`, `rounds`.
            since: Seconds since the one before began, and since what was known until now was asked
                for; `None` for the first one after a rest.
            heard: Whether Airflow answered.
        """

    def run_ended(self, run: DagRun) -> None:
        """A run of the gateway's has ended, whoever still waits for it. May be told again."""
