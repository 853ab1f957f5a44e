"""What a scrape costs the calls beside it, and what it says when something is wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import NoReturn

import aiohttp
import pytest
import structlog
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily

from dag_inference_server.metrics.http import serving_metrics
from integration.scraping import get
from integration.waiting import eventually


class Slow:
    """What takes long to collect: until somebody says that it is enough."""

    def __init__(self) -> None:
        self.begun, self.enough = threading.Event(), threading.Event()

    def collect(self) -> Iterator[Metric]:
        """Take long."""
        self.begun.set()
        yield GaugeMetricFamily("was_told", "Whether it was.", value=self.enough.wait(5))


async def test_a_scrape_holds_up_nothing() -> None:
    """However long it takes, the event loop goes on; what the loop changes is read before."""
    looks, slow, registry = list[str](), Slow(), CollectorRegistry()
    registry.register(slow)

    def look() -> None:
        assert not slow.begun.is_set()
        looks.append(threading.current_thread().name)

    async with serving_metrics("127.0.0.1:0", registry, lambda: "", look) as port:
        scraping = asyncio.create_task(get(port, "/metrics"))
        await eventually(slow.begun.is_set)
        assert (await get(port, "/livez"))[0] == 200
        slow.enough.set()
        status, _, text = await scraping

    assert status == 200
    assert "was_told 1.0" in text
    assert looks == [threading.current_thread().name]


async def test_a_scrape_is_short_on_the_wire() -> None:
    """For whoever takes gzip, as Prometheus does; others get it as it is."""
    registry = CollectorRegistry()
    async with (
        serving_metrics("127.0.0.1:0", registry, lambda: "", lambda: None) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        encodings = [
            (await session.get("/metrics", headers={"Accept-Encoding": taken})).headers.get(
                "Content-Encoding"
            )
            for taken in ("gzip", "identity")
        ]

    assert encodings == ["gzip", None]


class Broken:
    """What cannot be collected."""

    def collect(self) -> NoReturn:
        """Break down."""
        raise RuntimeError("a bug")


async def test_a_scrape_that_breaks_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is an error for Prometheus, and says in the log what it is."""
    registry, written = CollectorRegistry(), structlog.testing.CapturingLogger()
    registry.register(Broken())
    log = structlog.wrap_logger(
        written,
        processors=[structlog.processors.format_exc_info],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    monkeypatch.setattr("dag_inference_server.metrics.http.log", log)

    async with serving_metrics("127.0.0.1:0", registry, lambda: "", lambda: None) as port:
        status, _, text = await get(port, "/metrics")

    assert status == 500
    assert "a bug" not in text
    (line,) = written.calls
    assert line.kwargs["event"] == "metrics_failed"
    assert "RuntimeError: a bug" in line.kwargs["exception"]
