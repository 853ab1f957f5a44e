"""A real Prometheus that scrapes a real gateway, in front of the fake Airflow."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop
import yaml

from dag_inference_server.logs import configure
from dag_inference_server.settings import ENV_PREFIX
from fakes.airflow import FakeAirflow
from integration.gateway import Gateway, running, settings_for

EXAMPLES = Path(__file__).parents[2] / "examples"


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop that the gateway runs in."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    configure("warning")
    for name in os.environ:
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
async def airflow() -> AsyncIterator[FakeAirflow]:
    """An Airflow without DAGs."""
    fake = FakeAirflow()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def gateway(airflow: FakeAirflow) -> AsyncIterator[Gateway]:
    """A gateway that takes few calls at once."""
    async with running(settings_for(airflow, max_calls=20)) as gateway:
        await gateway.ready()
        yield gateway


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    url: str
    session: aiohttp.ClientSession

    async def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """What a query gives now: labels and value of each series."""
        found = await self._get("query", query=expression)
        result = found["result"]
        if found["resultType"] == "scalar":
            return [({}, float(result[1]))]
        return [(series["metric"], float(series["value"][1])) for series in result]

    async def range(
        self, expression: str, start: float, end: float
    ) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """What a query gives each second: labels, and time and value of each point."""
        about = {"start": str(start), "end": str(end), "step": "1"}
        found = (await self._get("query_range", query=expression, **about))["result"]
        return [
            (series["metric"], [(float(at), float(value)) for at, value in series["values"]])
            for series in found
        ]

    async def values(self, label: str, family: str | None = None) -> set[str]:
        """Every value that a label has, of a family or of all; `__name__` is one, too."""
        match = {} if family is None else {"match[]": family}
        return {*await self._get(f"label/{label}/values", **match)}

    async def exemplars(self, expression: str) -> list[dict[str, Any]]:
        """The exemplars of the last hour."""
        found = await self._get("query_exemplars", query=expression, start="0", end="9999999999")
        return [exemplar for series in found for exemplar in series["exemplars"]]

    async def targets(self) -> list[dict[str, Any]]:
        """What is scraped."""
        targets: list[dict[str, Any]] = (await self._get("targets"))["activeTargets"]
        return targets

    async def _get(self, path: str, **params: str) -> Any:
        async with self.session.get(f"{self.url}/api/v1/{path}", params=params) as answer:
            body = await answer.json()
            assert body["status"] == "success", (params, body)
            return body["data"]


@pytest.fixture
async def prometheus(gateway: Gateway, tmp_path: Path) -> AsyncIterator[Prometheus]:
    """Prometheus with the configuration of the examples, but faster, and with this gateway."""
    config = yaml.safe_load((EXAMPLES / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(EXAMPLES / "prometheus" / "rules.yml")]
    (scraped,) = config["scrape_configs"]
    scraped["static_configs"] = [{"targets": [f"127.0.0.1:{gateway.serving.metrics_port}"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*free.getsockname())
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession() as session:
            await _ready(session, f"http://{address}/-/ready")
            yield Prometheus(f"http://{address}", session)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


async def _ready(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
