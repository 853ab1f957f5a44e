"""Our own families: where the time of calls goes, and how Airflow does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram, Info
from prometheus_client.core import GaugeMetricFamily

from dag_inference.errors import DagInferenceError
from dag_inference_server.invocation.call import Outcome
from dag_inference_server.metrics.buckets import SECONDS

_OTHER = "other"
_MAX_DAGS = 200
"""DAGs with series of their own. Each has some 400."""


@dataclass(frozen=True, slots=True)
class Now:
    """What the gateway is doing, read when somebody asks."""

    calls: Mapping[str, int]
    """In flight, by DAG."""
    triggers: int
    """Calls whose run has not been made yet."""
    runs: int
    """Runs that are followed."""
    news_age: float
    """Seconds since Airflow was last heard while young runs are followed; else 0."""


class GatewayMetrics:
    """Is told of calls and of requests to Airflow."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the families."""
        self._stages = Histogram(
            "dag_inference_stage_seconds",
            "Where the time of answered calls went, as the answer's timing says.",
            ("stage", "dag_id"),
            buckets=SECONDS,
            registry=registry,
        )
        self._results = Histogram(
            "dag_inference_time_to_result_seconds",
            "From the arrival of a call until its answer was ready, by its outcome: OK, a reason "
            "of the contract, or CALLER_LEFT.",
            ("dag_id", "outcome"),
            buckets=SECONDS,
            registry=registry,
        )
        self._requests = Histogram(
            "dag_inference_airflow_request_seconds",
            "Requests to Airflow, by their status; none if there was no answer.",
            ("operation", "status"),
            buckets=SECONDS,
            registry=registry,
        )
        self._up = Gauge(
            "dag_inference_airflow_up",
            "Whether the last request to Airflow was answered, with less than 500.",
            registry=registry,
        )
        Info("dag_inference_build", "What is running.", registry=registry).info(
            {"version": version("dag-inference-server")}
        )
        self._dags: set[str] = set()

    def answered(self, outcome: Outcome) -> None:
        """A call has its result."""
        run, timing = outcome.run, outcome.timing
        dag_id = self._label(run.dag_id, is_real=True)
        for stage, span in (
            ("trigger", timing.trigger),
            ("queued", timing.queued),
            ("running", timing.running),
            ("detection", timing.detection),
            ("value_read", timing.value_read),
            ("unattributed", timing.unattributed),
        ):
            if span is not None:
                self._stages.labels(stage, dag_id).observe(span.total_seconds())
        self._results.labels(dag_id, "OK").observe(
            timing.total.total_seconds(), _exemplar(run.run_id)
        )

    def failed(self, dag_id: str, error: DagInferenceError, seconds: float) -> None:
        """A call has an error."""
        run_id = error.subject.run_id
        # Only a DAG that has runs is known to exist: anybody can make names up.
        label = self._label(dag_id, is_real=run_id is not None and error.reason != "RUN_NOT_FOUND")
        self._results.labels(label, error.reason).observe(seconds, _exemplar(run_id))

    def left(self, dag_id: str, seconds: float) -> None:
        """A caller went away."""
        self._results.labels(self._label(dag_id), "CALLER_LEFT").observe(seconds)

    def requested(self, operation: str, status: int | None, seconds: float) -> None:
        """A request to Airflow was answered, or not."""
        self._requests.labels(operation, "none" if status is None else status).observe(seconds)
        self._up.set(status is not None and status < 500)

    def _label(self, dag_id: str, *, is_real: bool = False) -> str:
        if dag_id in self._dags:
            return dag_id
        if is_real and len(self._dags) < _MAX_DAGS:
            self._dags.add(dag_id)
            return dag_id
        return _OTHER

    def show(self, now: Callable[[], Now], registry: CollectorRegistry) -> None:
        """Show what the gateway is doing whenever somebody looks."""
        registry.register(_Looking(now, self._label))


class _Looking:
    """Reads what there is at each scrape, which costs nothing between two."""

    def __init__(self, now: Callable[[], Now], label: Callable[[str], str]) -> None:
        self._now = now
        self._label = label

    def collect(self) -> Iterator[Any]:
        now = self._now()
        calls = GaugeMetricFamily(
            "dag_inference_calls_in_flight", "Calls under way.", labels=["dag_id"]
        )
        by_label: dict[str, int] = {}
        for dag_id, count in now.calls.items():
            label = self._label(dag_id)
            by_label[label] = by_label.get(label, 0) + count
        for label, count in sorted(by_label.items()):
            calls.add_metric([label], count)
        yield calls
        for name, what, value in (
            ("calls_awaiting_trigger", "Calls whose run has not been made yet.", now.triggers),
            ("watcher_runs", "Runs that are followed.", now.runs),
            (
                "watcher_news_age_seconds",
                "Since when Airflow has told no news of the runs that are followed.",
                now.news_age,
            ),
        ):
            yield GaugeMetricFamily(f"dag_inference_{name}", what, value=value)


def _exemplar(run_id: str | None) -> dict[str, str] | None:
    # OpenMetrics allows 128 characters, names included.
    return {"run_id": run_id} if run_id is not None and len(run_id) <= 120 else None
