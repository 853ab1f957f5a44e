"""Metrics that nobody collects."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from prometheus_client import CollectorRegistry

from dag_inference.errors import DagInferenceError, Subject
from dag_inference_server.airflow import DagRun
from dag_inference_server.invocation.call import Outcome, Timing
from dag_inference_server.metrics.looking import Now


class NoMetrics:
    """Is told what `GatewayMetrics` is told, and keeps nothing of it."""

    def answered(self, outcome: Outcome, translation: timedelta) -> None:
        """Nothing."""

    def failed(
        self,
        dag_id: str,
        error: DagInferenceError,
        took: timedelta | None,
        timing: Timing | None = None,
    ) -> None:
        """Nothing."""

    def unanswered(self, subject: Subject, why: str) -> None:
        """Nothing."""

    def requested(self, operation: str, status: int | None, seconds: float) -> None:
        """Nothing."""

    def looked(self, kind: str, since: tuple[float, float] | None, *, heard: bool) -> None:
        """Nothing."""

    def run_ended(self, run: DagRun) -> None:
        """Nothing."""

    def show(self, now: Callable[[], Now], registry: CollectorRegistry) -> Callable[[], None]:
        """Nothing."""
        return lambda: None
