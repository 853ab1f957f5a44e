"""A proxy in front of a real Airflow, with the faults of the fake one."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx

from fakes.airflow.faults import Faults
from fakes.airflow.routes import find
from fakes.airflow.wire import HttpServer, Reply, Request

_OF_A_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
"""Headers that are between two neighbours; each side writes its own."""


class FaultyProxy:
    """Hands requests on to an Airflow, unless a fault stands between."""

    def __init__(self, airflow_url: str) -> None:
        """Take a port; connections are refused until the block begins."""
        self.faults = Faults()
        self._server = HttpServer(self._handle)
        # Airflow may be slow by itself, and nothing on the way may be packed.
        self._airflow = httpx.AsyncClient(
            base_url=airflow_url, timeout=60, headers={"accept-encoding": "identity"}
        )

    @property
    def url(self) -> str:
        """Where it answers in Airflow's place."""
        return f"http://127.0.0.1:{self._server.port}"

    async def __aenter__(self) -> Self:
        """Answer requests."""
        await self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Answer no more."""
        await self._server.stop()
        await self._airflow.aclose()

    async def _handle(self, request: Request) -> Reply:
        kind, _, parts = find(request)

        async def through() -> Reply:
            answer = await self._airflow.request(
                request.method,
                request.target,
                headers=_handed_on(request.headers) | {"accept-encoding": "identity"},
                content=request.body,
            )
            return Reply(answer.status_code, answer.content, _handed_on(answer.headers))

        fault = self.faults.of(kind, next(iter(parts), None))
        return await (fault(through) if fault else through())


def _handed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _OF_A_CONNECTION}
