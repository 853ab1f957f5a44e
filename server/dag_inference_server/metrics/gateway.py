"""Our own families: where the time of calls goes, and how Airflow does."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, Info

from dag_inference.errors import (
    AirflowDenied,
    AirflowUnavailable,
    DagInferenceError,
    GatewayBug,
    Overloaded,
    ShuttingDown,
    Subject,
)
from dag_inference_server.airflow import LOGIN, DagRun
from dag_inference_server.batch import Batch
from dag_inference_server.invocation.call import Outcome, Timing
from dag_inference_server.metrics.families import Counter, Histogram
from dag_inference_server.metrics.looking import Looking, Now

_OTHER = "other"

_UNSERVED = tuple(
    error.reason
    for error in (AirflowUnavailable, AirflowDenied, Overloaded, ShuttingDown, GatewayBug)
)
"""Outcomes that are the gateway's fault or its Airflow's: what `rules.yml` is about."""

_MAX_EARLY = 10_000
"""Runs that were answered before their end and whose end is still looked for."""


class GatewayMetrics:
    """Is told of calls, of requests to Airflow, and of the watcher's looks."""

    def __init__(
        self,
        registry: CollectorRegistry,
        max_dags: int,
        trace_id: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Register the families.

        Args:
            registry: Where.
            max_dags: How many DAGs have series of their own.
            trace_id: Gives the trace of the call that is told of.
        """
        self._max_dags = max_dags
        self._trace_id = trace_id

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"dag_inference_{name}", what, labels, registry)

        def histogram(name: str, what: str, *labels: str) -> Histogram:
            return Histogram(f"dag_inference_{name}_seconds", what, labels, registry)

        self._stage = histogram(
            "stage",
            "Where the time of answered calls went, as the answer's timing says.",
            *("stage", "dag_id"),
        )
        self._ended = counter(
            "calls",
            "Calls that have ended, by their outcome: OK, a reason of the contract, "
            "CALLER_LEFT or DEADLINE_MISSED.",
            *("dag_id", "outcome"),
        )
        self._time_to_result = histogram(
            "time_to_result",
            "From the arrival of a call that had a run until its answer or error was ready.",
            *("dag_id", "outcome"),
        )
        self._saved = histogram(
            "time_saved",
            "From the answer of a call until the end of its run, for which it did not wait.",
            "dag_id",
        )
        self._request = histogram(
            "airflow_request",
            "Requests to Airflow, by their status; none if there was no answer.",
            *("operation", "status"),
        )
        self._refreshes = counter(
            "airflow_token_refreshes",
            "Tokens that were asked for with the account's password, by what came of it.",
            "outcome",
        )
        for outcome in ("ok", "refused", "unanswered"):
            self._refreshes(outcome)
        self._looks = counter(
            "watcher_looks",
            "Looks for news, by what they are for and whether Airflow answered.",
            *("kind", "outcome"),
        )
        self._lag = histogram(
            "watcher_lag",
            "How old what was known had become when a look replaced it.",
            "kind",
        )
        self._interval = Gauge(
            "dag_inference_watcher_interval_seconds",
            "From the last look but one to the last look.",
            ("kind",),
            registry=registry,
        )
        for kind in ("calls", "streams", "rounds"):
            self._interval.labels(kind)
            for outcome in ("ok", "failed"):
                self._looks(kind, outcome)
        Info("dag_inference_build", "What is running.", registry=registry).info(
            {"version": version("dag-inference-server")}
        )
        self._counting = Batch[Callable[[], None]](_count)
        self._dags: set[str] = set()
        self._early: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self._begin(_OTHER)

    def answered(self, outcome: Outcome, translation: timedelta) -> None:
        """A call has its answer."""
        run, timing = outcome.run, outcome.timing
        # DAGs come to have series of their own in the order of their calls.
        label, trace_id = self._label(run.dag_id, is_real=True), self._trace_id()
        # The result itself, which may be large, is not kept for that.
        self._counting.add(
            partial(self._count_answer, label, run.run_id, timing, translation, trace_id)
        )
        if not run.is_final and timing.ended_at and timing.detection is not None:
            answered_at = timing.ended_at + timing.detection + (timing.value_read or timedelta(0))
            self._early[run.dag_id, run.run_id] = answered_at
            if len(self._early) > _MAX_EARLY:
                self._early.popitem(last=False)

    def _count_answer(
        self,
        label: str,
        run_id: str,
        timing: Timing,
        translation: timedelta,
        trace_id: str | None,
    ) -> None:
        exemplar = _exemplar(trace_id, run_id)
        # A run is told once, a trace everywhere.
        stages_exemplar = exemplar if trace_id else None
        for stage, span in timing.stages(translation).items():
            self._stage(stage, label).observe(span.total_seconds(), stages_exemplar)
        self._ended(label, "OK").inc()
        self._time_to_result(label, "OK").observe(
            (timing.total + translation).total_seconds(), exemplar
        )

    def failed(
        self,
        dag_id: str,
        error: DagInferenceError,
        took: timedelta | None,
        timing: Timing | None = None,
    ) -> None:
        """A call has an error, after so long if it had a run."""
        # Only a run that was seen is known to exist, and its DAG: anybody can make names up.
        is_real = error.subject.run_state is not None
        label = self._label(dag_id, is_real=is_real)
        exemplar = _exemplar(self._trace_id(), error.subject.run_id if is_real else None)
        self._ended(label, error.reason).inc(exemplar)
        if took is not None:
            self._time_to_result(label, error.reason).observe(took.total_seconds(), exemplar)

    def unanswered(self, subject: Subject, why: str) -> None:
        """A call ends without an answer."""
        # Whose state is known is a run that Airflow has.
        label = self._label(str(subject.dag_id), is_real=subject.run_state is not None)
        self._ended(label, why).inc()

    def requested(self, operation: str, status: int | None, seconds: float) -> None:
        """A request to Airflow was answered, or not."""
        self._request(operation, "none" if status is None else str(status)).observe(seconds)
        if operation == LOGIN:
            self._refreshes(_outcome_of_login(status)).inc()

    def looked(self, kind: str, since: tuple[float, float] | None, *, heard: bool) -> None:
        """The watcher has looked for news."""
        self._looks(kind, "ok" if heard else "failed").inc()
        if since is not None:
            interval, lag = since
            self._interval.labels(kind).set(interval)
            if heard:
                self._lag(kind).observe(lag)

    def run_ended(self, run: DagRun) -> None:
        """A run has ended, perhaps long after its answer."""
        answered_at = self._early.pop((run.dag_id, run.run_id), None)
        if answered_at is not None and run.end_date is not None:
            saved = max(run.end_date - answered_at, timedelta(0))
            self._saved(self._label(run.dag_id, is_real=True)).observe(saved.total_seconds())

    def show(self, now: Callable[[], Now], registry: CollectorRegistry) -> Callable[[], None]:
        """Show what the gateway is doing; gives what to call before each reading of it."""
        looking = Looking(now, self._label)
        registry.register(looking)

        def look() -> None:
            self._counting.flush()
            looking.look()

        return look

    def _label(self, dag_id: str, *, is_real: bool = False) -> str:
        if dag_id in self._dags:
            return dag_id
        if is_real and len(self._dags) < self._max_dags:
            self._dags.add(dag_id)
            self._begin(dag_id)
            return dag_id
        return _OTHER

    def _begin(self, label: str) -> None:
        """Begin what alerts are about with zero, so that the first error is an increase."""
        for outcome in ("OK", *_UNSERVED):
            self._ended(label, outcome)


def _count(counting: Sequence[Callable[[], None]]) -> None:
    for count in counting:
        count()


def _exemplar(trace_id: str | None, run_id: str | None) -> dict[str, str]:
    """The call's trace, and its run if both fit."""
    exemplar = {"trace_id": trace_id} if trace_id else {}
    # OpenMetrics allows 128 characters, names included; a trace's id has 32.
    if run_id and len(run_id) <= (82 if trace_id else 122):
        exemplar["run_id"] = run_id
    return exemplar


def _outcome_of_login(status: int | None) -> str:
    if status is not None and status < 300:
        return "ok"
    return "refused" if status in (400, 401, 403, 422) else "unanswered"
