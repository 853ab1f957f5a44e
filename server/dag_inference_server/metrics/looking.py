"""What the gateway is doing at the moment, for who asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from dag_inference_server.invocation.flight import STAGES, TRIGGERING


@dataclass(frozen=True, slots=True)
class Now:
    """What the gateway is doing, read when somebody asks."""

    calls: Mapping[tuple[str, str], int]
    """In flight, by DAG and by what they wait for."""
    rejections: Mapping[str, int]
    """Calls that were refused so far, by reason."""
    runs: int
    """Runs that are followed."""
    news_age: float
    """Seconds since Airflow was last heard while young runs are followed; else 0."""
    components: Mapping[str, bool]
    """Airflow's own parts, and whether each is healthy."""
    is_up: bool
    """Whether Airflow answered the last request that says so."""
    breaker_is_open: bool
    """Whether new calls are kept away from Airflow."""
    account_is_refused: bool
    """Whether Airflow takes nothing of what the account has to show."""
    tasks: int
    """Of the event loop: some for each call, and few when there is none."""


class Looking:
    """Reads what there is before each scrape, which costs nothing between two."""

    def __init__(self, now: Callable[[], Now], label: Callable[..., str]) -> None:
        """Read `now`; `label` gives the name that a DAG goes by."""
        self._now = now
        self._label = label
        self._calls = Counter(dict.fromkeys(((label(""), stage) for stage in STAGES), 0))
        self._seen: Sequence[Metric] = ()

    def look(self) -> None:
        """Take in what there is. In the event loop, which changes it."""
        self._seen = tuple(self._families())

    def collect(self) -> Sequence[Metric]:
        """What was taken in last. In any thread."""
        return self._seen

    def _families(self) -> Iterator[Metric]:
        now = self._now()
        calls = GaugeMetricFamily(
            "dag_inference_calls_in_flight",
            "Calls under way, by what they wait for: triggering, waiting, answering.",
            labels=["dag_id", "state"],
        )
        # What was in flight once is told to be no more: a gap would be no news of it.
        self._calls = Counter(dict.fromkeys(self._calls, 0))
        for (dag_id, stage), count in now.calls.items():
            # Whose run is made is known to exist.
            self._calls[self._label(dag_id, is_real=stage != TRIGGERING), stage] += count
        for labels, count in sorted(self._calls.items()):
            calls.add_metric(labels, count)
        yield calls
        rejections = CounterMetricFamily(
            "dag_inference_rejections", "Calls that were refused, by why.", labels=["reason"]
        )
        for reason, count in sorted(now.rejections.items()):
            rejections.add_metric([reason], count)
        yield rejections
        components = GaugeMetricFamily(
            "dag_inference_airflow_component_up",
            "Whether a part of Airflow is healthy, by what Airflow says.",
            labels=["component"],
        )
        for component, is_up in sorted(now.components.items()):
            components.add_metric([component], is_up)
        yield components
        for name, what, value in (
            (
                "airflow_up",
                "Whether the last request to Airflow got an answer that calls can go by.",
                now.is_up,
            ),
            (
                "airflow_breaker_open",
                "Whether new calls are refused at once because Airflow is away.",
                now.breaker_is_open,
            ),
            (
                "airflow_account_refused",
                "Whether Airflow refuses the account, or its secret cannot be read.",
                now.account_is_refused,
            ),
            ("tasks", "Tasks of the event loop, of calls and all else.", now.tasks),
            ("watcher_runs", "Runs that are followed.", now.runs),
            (
                "watcher_news_age_seconds",
                "Since when Airflow has told no news of the runs that are followed.",
                now.news_age,
            ),
        ):
            yield GaugeMetricFamily(f"dag_inference_{name}", what, value=value)
