"""A fake Airflow: a real HTTP server in the event loop of the test."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import format_datetime
from functools import partial
from typing import TypeAlias

from fakes.airflow.accounts import Accounts
from fakes.airflow.faults import Faults
from fakes.airflow.routes import Kind, Refusal, Routes, find, refusal_reply
from fakes.airflow.state import Clock, Dag, Run
from fakes.airflow.wire import HttpServer, Reply, Request

_Routed: TypeAlias = tuple[Kind, Callable[[], Reply | Awaitable[Reply]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made."""

    kind: Kind
    dag_id: str | None
    request: Request

    @property
    def is_of_a_dag(self) -> bool:
        """Whether it was made for one DAG, and not for all or none."""
        return self.dag_id not in (None, "~")


class FakeAirflow:
    """Speaks the part of Airflow's REST API that the gateway uses, from 3.1 to 3.3.

    Nothing happens in it by itself: the test drives runs by hand, or gives a DAG a script.
    """

    def __init__(self, *dags: Dag, version: str = "3.3.2") -> None:
        """Take a port; connections are refused until `start`."""
        self.clock = Clock()
        self.faults = Faults()
        self.accounts = Accounts("gateway", "secret")
        self.asked: list[Asked] = []
        self._asked = asyncio.Event()
        self._dags: dict[str, Dag] = {}
        self._routes = Routes(self._dags, version)
        self._server = HttpServer(self._handle)
        for dag in dags:
            self.add(dag)

    @property
    def url(self) -> str:
        """Where it answers, also while it is stopped."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def connections(self) -> int:
        """How many connections are held to it."""
        return self._server.connections

    async def start(self) -> None:
        """Answer requests."""
        await self._server.start()

    async def stop(self) -> None:
        """Answer no more; connections are refused, and open ones are closed."""
        await self._server.stop()

    def add(self, dag: Dag) -> Dag:
        """Have a DAG."""
        dag.clock = self.clock
        self._dags[dag.dag_id] = dag
        return dag

    def remove(self, dag_id: str) -> None:
        """Delete a DAG."""
        del self._dags[dag_id]

    @property
    def made(self) -> list[Run]:
        """Every run that was ever made, by DAG and in the order of the triggers."""
        return [run for dag in self._dags.values() for run in dag.made]

    def count(self, *kinds: Kind) -> int:
        """How many requests of these kinds were made; of all kinds, if none is named."""
        return sum(not kinds or asked.kind in kinds for asked in self.asked)

    def was_read(self, run_id: str) -> bool:
        """Whether a run and its task instances were asked for by its id."""
        kinds = {each.kind for each in self.asked if run_id in each.request.path.split("/")}
        return {Kind.RUN, Kind.RUN_INSTANCES} <= kinds

    async def polls(self, more: int) -> None:
        """Wait until task instances of many runs were asked for so many times more."""
        enough = self.count(Kind.INSTANCES) + more
        async with asyncio.timeout(30):
            while self.count(Kind.INSTANCES) < enough:
                self._asked.clear()
                await self._asked.wait()

    async def silence(self, seconds: float = 0.3) -> None:
        """Wait until nothing was asked for so long."""
        async with asyncio.timeout(30):
            with suppress(TimeoutError):
                while True:
                    self._asked.clear()
                    await asyncio.wait_for(self._asked.wait(), seconds)

    async def _handle(self, request: Request) -> Reply:
        kind, answer, parts = self._route(request)
        dag_id = next(iter(parts), None)
        self.asked.append(Asked(kind, dag_id, request))
        self._asked.set()

        async def through() -> Reply:
            try:
                if kind not in (Kind.TOKEN, Kind.VERSION, Kind.HEALTH):
                    self.accounts.check(request)
                reply = answer()
                return await reply if inspect.isawaitable(reply) else reply
            except Refusal as refusal:
                return refusal_reply(refusal)

        fault = self.faults.of(kind, dag_id)
        reply = await (fault(through) if fault else through())
        date = format_datetime(self.clock.now(), usegmt=True)
        return replace(reply, headers={"date": date, **reply.headers})

    def _route(self, request: Request) -> _Routed:
        kind, answer, parts = find(request)
        if answer is not None:
            return kind, partial(answer, self._routes, request, *parts), parts
        if kind is Kind.TOKEN:
            return kind, lambda: self.accounts.token(request), parts

        def not_found() -> Reply:
            raise Refusal(404, "Not Found")

        return kind, not_found, parts
