"""The standard health service: of the gateway, of Airflow, and of each DAG."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from async_lru import alru_cache
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from dag_inference.errors import AirflowDenied, AirflowUnavailable, DagNotAllowed, DagNotFound
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.edge.check import is_id
from dag_inference_server.inference import open_inference_pb2

SERVICES = (
    pb.DESCRIPTOR.services_by_name["DagInference"].full_name,
    open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
)
"""Those that call DAGs."""

_NAMES = ("", *SERVICES)
"""The server as a whole, and its services. All serve from Airflow's first answer until the end:
a mesh must not throw away every replica because Airflow restarts."""

_AIRFLOW = "airflow"
_DAG = "dag/"

_DAG_EVERY = 5.0
"""Seconds that the status of a DAG is good for."""

_Status = health_pb2.HealthCheckResponse
_Value: TypeAlias = Any
"""One of its values, for which the stubs have no name."""
IsCallable = Callable[[str], Awaitable[bool]]


class Health:
    """NOT_SERVING until told otherwise."""

    def __init__(self, is_callable: IsCallable) -> None:
        """Serve nothing yet.

        Args:
            is_callable: Whether a DAG can be called now. Raises `DagNotFound` and `DagNotAllowed`,
                and what Airflow does not tell, as errors of the contract.
        """
        self._servicer = _Servicer(self._of_dag)
        self._is_callable = is_callable
        self._airflow_is_well = False
        self._dags = alru_cache(maxsize=1024, ttl=_DAG_EVERY)(self._look_up)
        self.is_serving = False

    async def add_to(self, server: grpc.aio.Server) -> None:
        """Answer health checks on this server."""
        await self.set_serving(False)
        await self.set_airflow(False)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, serving: bool) -> None:
        """Say whether calls are served."""
        self.is_serving = serving
        for name in _NAMES:
            await self._servicer.set(name, _status(serving))

    async def set_airflow(self, is_well: bool) -> None:
        """Say whether Airflow is well."""
        self._airflow_is_well = is_well
        await self._servicer.set(_AIRFLOW, _status(is_well))

    async def is_dag_ready(self, dag_id: str) -> bool:
        """Whether a DAG can be called: served here, known, not paused, not broken, Airflow well."""
        return bool(await self._of_dag(dag_id) == _Status.SERVING)

    async def _of_dag(self, dag_id: str) -> _Value:
        """How a DAG does: served here, known, not paused, not broken, Airflow well."""
        if not is_id(dag_id):
            return _Status.SERVICE_UNKNOWN
        if not self.is_serving or not self._airflow_is_well:
            return _Status.NOT_SERVING
        return await self._dags(dag_id)

    async def _look_up(self, dag_id: str) -> _Value:
        try:
            return _status(await self._is_callable(dag_id))
        except (DagNotFound, DagNotAllowed):
            return _Status.SERVICE_UNKNOWN
        except (AirflowUnavailable, AirflowDenied):
            return _Status.NOT_SERVING


class _Servicer(health_aio.HealthServicer):
    """The library's, with the names of DAGs, which nobody sets."""

    def __init__(self, of_dag: Callable[[str], Awaitable[_Value]]) -> None:
        super().__init__()
        self._of_dag = of_dag

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        if not request.service.startswith(_DAG):
            answer: health_pb2.HealthCheckResponse = await super().Check(request, context)
            return answer
        status = await self._of_dag(request.service.removeprefix(_DAG))
        if status == _Status.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such DAG is served here")
        return _Status(status=status)

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> None:
        if not request.service.startswith(_DAG):
            await super().Watch(request, context)
            return
        told = None
        while True:
            status = await self._of_dag(request.service.removeprefix(_DAG))
            if status != told:
                await context.write(_Status(status=status))
            told = status
            await asyncio.sleep(_DAG_EVERY)


def _status(serving: bool) -> _Value:
    return _Status.SERVING if serving else _Status.NOT_SERVING
