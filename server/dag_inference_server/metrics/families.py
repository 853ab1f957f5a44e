"""Counters and histograms that calls are counted in, at a tenth of what the library's own cost.

Those take a lock for each number and look through all buckets for the one. Ours are counted in by
the event loop alone, and become the library's families when they are read.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, Exemplar, HistogramMetricFamily

from dag_inference_server.metrics.buckets import BUCKETS

_BOUNDS = (*map(str, BUCKETS), "+Inf")


class Count:
    """One series of a counter."""

    __slots__ = ("_exemplar", "_total")

    def __init__(self) -> None:
        """Nothing has been counted."""
        self._total = 0
        self._exemplar: Exemplar | None = None

    def inc(self, exemplar: dict[str, str] | None = None) -> None:
        """Count one more, which the labels of `exemplar` name, 128 characters in all."""
        self._total += 1
        if exemplar:
            self._exemplar = Exemplar(exemplar, 1.0, time.time())

    def add_to(self, family: CounterMetricFamily, labels: Sequence[str]) -> None:
        """Add what was counted to what is read."""
        family.add_metric(labels, self._total, exemplar=self._exemplar)


class Times:
    """One series of a histogram."""

    __slots__ = ("_counts", "_exemplars", "_sum")

    def __init__(self) -> None:
        """Nothing has been observed."""
        self._counts = [0] * len(_BOUNDS)
        self._exemplars: list[Exemplar | None] = [None] * len(_BOUNDS)
        self._sum = 0.0

    def observe(self, seconds: float, exemplar: dict[str, str] | None = None) -> None:
        """Count a time, which the labels of `exemplar` name, 128 characters in all."""
        bucket = bisect_left(BUCKETS, seconds)
        self._counts[bucket] += 1
        self._sum += seconds
        if exemplar:
            self._exemplars[bucket] = Exemplar(exemplar, seconds, time.time())

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add what was observed to what is read."""
        # Calls go on being counted meanwhile: a bucket is read once, and never goes back.
        counts, exemplars = accumulate(self._counts.copy()), self._exemplars.copy()
        family.add_metric(
            labels,
            [
                (bound, count) if exemplar is None else (bound, count, exemplar)
                for bound, count, exemplar in zip(_BOUNDS, counts, exemplars, strict=True)
            ],
            self._sum,
        )


S = TypeVar("S", Count, Times)


class _Family(ABC, Generic[S]):
    """Series, by labels."""

    def __init__(
        self, name: str, what: str, labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        """Show them where `registry` is read, under `name` and what that means."""
        self._name, self._what, self._labels = name, what, labels
        self._series: defaultdict[tuple[str, ...], S] = defaultdict(self._begin)
        registry.register(self)

    def __call__(self, *labels: str) -> S:
        """The series of these labels, which begins with zero if there is none."""
        return self._series[labels]

    def describe(self) -> Iterator[Metric]:
        """Its name, so that the registry sees that there is no other."""
        yield self._read({})

    def collect(self) -> Iterator[Metric]:
        """What was counted. In any thread."""
        # Series may begin meanwhile.
        yield self._read(self._series.copy())

    @abstractmethod
    def _begin(self) -> S: ...

    @abstractmethod
    def _read(self, series: Mapping[tuple[str, ...], S]) -> Metric: ...


class Counter(_Family[Count]):
    """How many there were, by labels."""

    def _begin(self) -> Count:
        return Count()

    def _read(self, series: Mapping[tuple[str, ...], Count]) -> Metric:
        family = CounterMetricFamily(self._name, self._what, labels=self._labels)
        for labels, count in series.items():
            count.add_to(family, labels)
        return family


class Histogram(_Family[Times]):
    """How long it took, in seconds, by labels."""

    def _begin(self) -> Times:
        return Times()

    def _read(self, series: Mapping[tuple[str, ...], Times]) -> Metric:
        family = HistogramMetricFamily(self._name, self._what, labels=self._labels)
        for labels, times in series.items():
            times.add_to(family, labels)
        return family
