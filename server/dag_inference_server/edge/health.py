"""The standard health service: of the gateway, of Airflow, and of each DAG."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from typing import Any, TypeAlias

import grpc
from async_lru import alru_cache
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dag_inference.errors import (
    AirflowDenied,
    AirflowUnavailable,
    DagNotAllowed,
    DagNotFound,
    Overloaded,
)
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.edge.check import is_id
from dag_inference_server.edge.status import end, end_of
from dag_inference_server.inference import open_inference_pb2
from dag_inference_server.invocation.admission import RETRY_AFTER

SERVICES = (
    pb.DESCRIPTOR.services_by_name["DagInference"].full_name,
    open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
)
"""Those that call DAGs."""

_NAMES = ("", *SERVICES)
"""The server as a whole, and its services. All serve from Airflow's first answer to the account
until the end: a mesh must not throw away every replica because Airflow restarts."""

_AIRFLOW = "airflow"
_DAG = "dag/"

_DAG_EVERY = 5.0
"""Seconds that the status of a DAG is good for."""

_UNKNOWN_FOR = 30.0
"""Seconds that a DAG which is not there is taken not to be: anybody can make names up."""

_UNKNOWN = 4096
"""Names that are remembered so."""

_AT_ONCE = 2
"""DAGs that are looked up at once: fewer than Airflow is asked for calls."""

_pb2: Any = health_pb2
"""The stubs do not know all of it."""
_Status = health_pb2.HealthCheckResponse
_Value: TypeAlias = Any
"""One of its values, for which the stubs have no name."""
IsCallable = Callable[[str], Awaitable[bool]]


class Health:
    """NOT_SERVING until told otherwise."""

    def __init__(
        self,
        is_callable: IsCallable,
        is_airflow_away: Callable[[], bool] = lambda: False,
        *,
        max_watchers: int = 20_000,
    ) -> None:
        """Serve nothing yet.

        Args:
            is_callable: Whether a DAG can be called now. Raises `DagNotFound` and `DagNotAllowed`,
                and what Airflow does not tell, as errors of the contract.
            is_airflow_away: Whether it is no use to ask Airflow.
            max_watchers: How many may watch at once.
        """
        self._is_callable = is_callable
        self._is_airflow_away = is_airflow_away
        self._watchers, self._max_watchers = 0, max_watchers
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._unknown_until: OrderedDict[str, float] = OrderedDict()
        self._dags = alru_cache(maxsize=1024, ttl=_DAG_EVERY)(self._look_up)
        self._statuses: dict[str, _Value] = dict.fromkeys((*_NAMES, _AIRFLOW), _Status.NOT_SERVING)
        self.why_not = "Airflow has not answered yet"
        """Why calls are not served; nothing if they are."""
        self.news = asyncio.Event()
        """Set when anything has changed; there is a new one after that."""

    def add_to(self, server: grpc.aio.Server) -> None:
        """Answer health checks on this server."""
        health_pb2_grpc.add_HealthServicer_to_server(_Servicer(self), server)

    @property
    def is_serving(self) -> bool:
        """Whether calls are served."""
        return not self.why_not

    def serve(self) -> None:
        """Say that calls are served."""
        self._say("")

    def refuse(self, why_not: str) -> None:
        """Say that calls are not served, and why."""
        self._say(why_not)

    def _say(self, why_not: str) -> None:
        self.why_not = why_not
        self._set(dict.fromkeys(_NAMES, _status(self.is_serving)))

    def set_airflow(self, is_well: bool) -> None:
        """Say whether Airflow is well."""
        self._set({_AIRFLOW: _status(is_well)})

    def _set(self, statuses: dict[str, _Value]) -> None:
        """Nobody is waited for: who watches may be slow, or not read at all."""
        if self._statuses == (now := self._statuses | statuses):
            return
        self._statuses = now
        self.news.set()
        self.news = asyncio.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch inside the block.

        Raises:
            Overloaded: There are as many who do as there may be.
        """
        if self._watchers >= self._max_watchers:
            raise Overloaded(
                f"there are {self._watchers} who watch, which is the limit (MAX_CALLS)",
                retry_after=RETRY_AFTER,
            )
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    @property
    def statuses(self) -> Mapping[str, _Value]:
        """What is said under each name, but for those of DAGs."""
        return self._statuses

    async def of(self, name: str) -> _Value:
        """What is said under a name."""
        if name.startswith(_DAG):
            return await self._of_dag(name.removeprefix(_DAG))
        return self._statuses.get(name, _Status.SERVICE_UNKNOWN)

    async def is_dag_ready(self, dag_id: str) -> bool:
        """Whether a DAG can be called: served here, known, not paused, not broken, Airflow well."""
        return bool(await self._of_dag(dag_id) == _Status.SERVING)

    async def _of_dag(self, dag_id: str) -> _Value:
        """How a DAG does: served here, known, not paused, not broken, Airflow well."""
        if not is_id(dag_id):
            return _Status.SERVICE_UNKNOWN
        is_well = self._statuses[_AIRFLOW] == _Status.SERVING and not self._is_airflow_away()
        if not self.is_serving or not is_well:
            return _Status.NOT_SERVING
        if time.monotonic() < self._unknown_until.get(dag_id, 0.0):
            return _Status.SERVICE_UNKNOWN
        return await self._dags(dag_id)

    async def _look_up(self, dag_id: str) -> _Value:
        try:
            async with self._turns:
                return _status(await self._is_callable(dag_id))
        except DagNotFound:
            self._unknown_until[dag_id] = time.monotonic() + _UNKNOWN_FOR
            self._unknown_until.move_to_end(dag_id)
            if len(self._unknown_until) > _UNKNOWN:
                self._unknown_until.popitem(last=False)
            return _Status.SERVICE_UNKNOWN
        except DagNotAllowed:
            return _Status.SERVICE_UNKNOWN
        except (AirflowUnavailable, AirflowDenied):
            return _Status.NOT_SERVING


class _Servicer(health_pb2_grpc.HealthServicer):
    """Says it, once or again and again.

    Not the library's: its `set` waits for everybody who watches, and one who does not read would
    hold up the end of the gateway (grpcio-health-checking 1.85, `_async.py`).
    """

    def __init__(self, health: Health) -> None:
        self._health = health

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        status = await self._health.of(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "nothing of that name is served here")
        return _Status(status=status)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        said = self._health.statuses.items()
        return _pb2.HealthListResponse(
            statuses={name: _Status(status=status) for name, status in said}
        )

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        try:
            with self._health.watching():
                async with aclosing(self._changes(request.service)) as changes:
                    async for status in changes:
                        yield _Status(status=status)
        except Overloaded as error:
            await end(context, end_of(error))

    async def _changes(self, name: str) -> AsyncGenerator[_Value]:
        told = None
        # Of a DAG, nobody brings the news.
        every = _DAG_EVERY if name.startswith(_DAG) else None
        while True:
            news = self._health.news
            status = await self._health.of(name)
            if status != told:
                yield status
            told = status
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await news.wait()


def _status(serving: bool) -> _Value:
    return _Status.SERVING if serving else _Status.NOT_SERVING
