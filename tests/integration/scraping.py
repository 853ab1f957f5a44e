"""Reading what a gateway tells Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import aiohttp
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families as classic

from integration.gateway import Gateway
from integration.waiting import PATIENCE

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def get(gateway: Gateway | int, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, content type and text of a page of a gateway, or of who serves metrics on a port."""
    port = gateway if isinstance(gateway, int) else gateway.serving.metrics_port
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


class Scraped:
    """The samples of a scrape."""

    def __init__(self, families: Iterable[Metric]) -> None:
        """Keep them by name."""
        self.families = {family.name: family for family in families}
        self._samples = [sample for family in self.families.values() for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that have these labels; 0 if there are none."""
        return float(sum(sample.value for sample in self.having(name, **labels)))

    def shown(self, name: str, **labels: str) -> float:
        """The same, and there are some: a zero that is told, and not one for want of a series."""
        assert [*self.having(name, **labels)], f"there is no {name} with {labels}"
        return self(name, **labels)

    def having(self, name: str, **labels: str) -> Iterator[Any]:
        """The samples of that name that have these labels."""
        for sample in self._samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample

    def labels_of(self, name: str) -> list[dict[str, str]]:
        """All labels of each sample of that name."""
        return [dict(sample.labels) for sample in self.having(name)]

    @property
    def series(self) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        """What there is, whatever its value."""
        return {(sample.name, frozenset(sample.labels.items())) for sample in self._samples}

    def values_of(self, label: str) -> set[str]:
        """Every value that a label has."""
        return {s.labels[label] for s in self._samples if label in s.labels}


async def scrape(gateway: Gateway | int) -> Scraped:
    """What Prometheus reads."""
    return Scraped(classic((await get(gateway, "/metrics"))[2]))


async def scrape_until(gateway: Gateway, condition: Callable[[Scraped], object]) -> Scraped:
    """What Prometheus reads once something holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition(found := await scrape(gateway)):
            pass
        return found
