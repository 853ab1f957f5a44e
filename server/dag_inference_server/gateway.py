"""The gateway as a whole: its parts put together, started in order and ended in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

import grpc
import structlog
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference.v1 import dag_inference_pb2_grpc as pb_grpc
from dag_inference_server.airflow import (
    AirflowApi,
    Breaker,
    Credentials,
    Listings,
    NotFound,
    RequestObserver,
    Transport,
    UnfinishedRuns,
    Values,
    secret,
)
from dag_inference_server.apart import Apart
from dag_inference_server.catalog.catalog import Catalog
from dag_inference_server.catalog.listing import DagListing
from dag_inference_server.drain import Drain
from dag_inference_server.edge.door import Door
from dag_inference_server.edge.health import SERVICES, Health
from dag_inference_server.edge.open_inference.responses import InferResponses
from dag_inference_server.edge.open_inference.servicer import OpenInferenceServicer
from dag_inference_server.edge.requests import Limits
from dag_inference_server.edge.responses import Responses
from dag_inference_server.edge.rpc import Rpcs, call_headers
from dag_inference_server.edge.servicer import DagInferenceServicer
from dag_inference_server.ending.attendance import Attendance
from dag_inference_server.ending.timeouts import RunTimeouts
from dag_inference_server.inference import open_inference_pb2_grpc as inference_grpc
from dag_inference_server.invocation.admission import Admission, CallLimits
from dag_inference_server.invocation.invocation import Invocations
from dag_inference_server.invocation.observer import Observers
from dag_inference_server.invocation.reading import ReadLimits
from dag_inference_server.invocation.report import FailureCodes, FailureReports
from dag_inference_server.invocation.run_ids import RunIds
from dag_inference_server.metrics.gateway import GatewayMetrics
from dag_inference_server.metrics.http import CannotServeMetrics, serving_metrics
from dag_inference_server.metrics.looking import Now
from dag_inference_server.metrics.off import NoMetrics
from dag_inference_server.metrics.rpcs import RpcMetrics
from dag_inference_server.server import CannotListen, add_tools, listen, make_server, services
from dag_inference_server.settings import Settings
from dag_inference_server.tracing.switch import traces_to
from dag_inference_server.trials import go_on_trying
from dag_inference_server.vitals import Vitals
from dag_inference_server.watcher import Pace, Watcher

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """A gateway that serves."""

    server: grpc.aio.Server
    port: int
    """The port it listens on, also where the settings leave the choice to the system."""
    metrics_port: int | None
    """The port of the metrics; `None` if they are off."""
    ready: asyncio.Event
    """Set by Airflow's first answer to the account."""
    hurry: Callable[[], None]
    """Once it is ending: gives no more time to the calls in flight."""


def connect(
    settings: Settings,
    breaker: Breaker | None = None,
    observer: RequestObserver | None = None,
    headers: Callable[[], Mapping[str, str]] = dict,
) -> Transport:
    """The way to Airflow that the settings describe.

    Args:
        settings: Where, as whom, how.
        breaker: Is told what becomes of each request.
        observer: Is told of each.
        headers: What each request says of the call that it is made for.
    """
    return Transport(
        settings.airflow_url,
        Credentials(
            settings.airflow_username,
            secret(settings.airflow_password, settings.airflow_password_file),
            secret(settings.airflow_token, settings.airflow_token_file),
        ),
        timeout=settings.airflow_timeout,
        connections=settings.airflow_connections,
        breaker=breaker,
        observer=observer,
        headers=headers,
    )


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Serving]:
    """Serve inside the block; at its end, calls in flight get the settings' delay and grace.

    Airflow need not be up: until its first answer to the account, health is NOT_SERVING and
    calls get `AIRFLOW_UNAVAILABLE`, or `AIRFLOW_DENIED`.

    Raises:
        CannotListen: The address is taken, or none of this machine's.
        CannotTrace: Traces are wanted, and the extra for them is not installed.
    """
    async with Apart() as apart, AsyncExitStack() as ends:
        registry = CollectorRegistry()
        traces = traces_to(settings.otlp_endpoint, SERVICES, settings.traces_per_second)
        ends.push_async_callback(traces.close)
        metrics = (
            GatewayMetrics(registry, settings.metrics_dags, traces.trace_id)
            if settings.metrics_listen != "off"
            else NoMetrics()
        )
        breaker = Breaker()
        transport = connect(settings, breaker, metrics, lambda: call_headers() | traces.headers())
        ends.push_async_callback(transport.close)
        api = AirflowApi(transport)
        run_ids = RunIds(settings.run_id_prefix)
        serves = _allow(settings.dags)
        listings = Listings(api, transport, prefix=settings.run_id_prefix)
        unfinished = UnfinishedRuns(api, listings, is_ours=run_ids.is_ours, serves=serves)
        watcher = Watcher(
            api,
            listings,
            Pace(
                settings.poll_interval_min, settings.poll_interval_max, settings.poll_interval_old
            ),
            metrics,
        )
        catalog = Catalog(api, breaker, serves=serves, result_tasks=settings.result_tasks)
        reports = FailureReports(
            api,
            FailureCodes(settings.task_codes, settings.exception_codes),
            reads_logs=settings.task_exceptions,
        )
        attendance, timeouts = Attendance(api), RunTimeouts(api, listings, unfinished)
        admission = Admission(
            CallLimits(
                settings.max_calls,
                settings.max_calls_per_dag,
                settings.max_triggers,
                refuses_hopeless=settings.refuse_hopeless,
            ),
            breaker,
        )
        invocations = Invocations(
            api,
            catalog,
            watcher,
            run_ids,
            values=Values(transport, apart),
            read_limits=ReadLimits(4 * settings.max_result_bytes, settings.max_map_indexes),
            reports=reports,
            admission=admission,
            attendance=attendance,
            timeouts=timeouts,
            observer=Observers(metrics, *traces.observers),
            trace_id=traces.trace_id,
        )
        # What is refused at the door counts, and has no trace.
        interceptors = [Door(invocations.turn_away), *traces.interceptors]
        if isinstance(metrics, GatewayMetrics):
            interceptors.insert(0, RpcMetrics(registry, services(settings)))
        health = Health(
            catalog.is_callable, lambda: breaker.is_open, max_watchers=settings.max_calls
        )
        server = make_server(settings, interceptors)
        ends.push_async_callback(server.stop, None)
        ready = asyncio.Event()
        vitals = Vitals(api, health.set_airflow)
        look = metrics.show(
            lambda: Now(
                invocations.stages(),
                admission.rejections,
                watcher.tracked,
                watcher.news_age,
                vitals.components,
                breaker.is_up,
                breaker.is_open,
                transport.account_is_refused,
                len(asyncio.all_tasks()),
            ),
            registry,
        )
        rpcs = Rpcs()
        drain = Drain(server, health, admission, invocations, attendance, rpcs=rpcs)
        limits = Limits(
            default_deadline=settings.default_deadline,
            max_deadline=settings.max_deadline,
            allow_result_task_ids=settings.allow_result_task_ids,
        )
        pb_grpc.add_DagInferenceServicer_to_server(
            DagInferenceServicer(
                invocations,
                catalog,
                DagListing(api, breaker, serves),
                Responses(settings.airflow_url, apart, max_bytes=settings.max_result_bytes),
                limits,
                rpcs=rpcs,
                heartbeat_interval=settings.heartbeat_interval,
            ),
            server,
        )
        inference_grpc.add_GRPCInferenceServiceServicer_to_server(
            OpenInferenceServicer(
                invocations,
                catalog,
                health,
                InferResponses(apart, settings.max_result_bytes),
                limits,
                rpcs=rpcs,
            ),
            server,
        )
        health.add_to(server)
        add_tools(server, settings)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        port = listen(server, settings.listen)
        async with (
            _metrics(settings.metrics_listen, registry, health, look) as metrics_port,
            asyncio.TaskGroup() as background,
        ):
            waking = background.create_task(_await_airflow(api, health, ready))
            tasks = (
                background.create_task(watcher.watch()),
                background.create_task(timeouts.go_on()),
                background.create_task(vitals.go_on()),
                background.create_task(go_on_trying(api, breaker)),
            )
            await server.start()
            try:
                yield Serving(server, port, metrics_port, ready, drain.hurry)
            finally:
                waking.cancel()
                await drain.end(settings.shutdown_delay, settings.shutdown_grace)
                for task in tasks:
                    task.cancel()


@asynccontextmanager
async def _metrics(
    address: str, registry: CollectorRegistry, health: Health, look: Callable[[], None]
) -> AsyncIterator[int | None]:
    """Serve metrics inside the block, if anywhere; gives the port."""
    if address == "off":
        yield None
        return
    try:
        async with serving_metrics(address, registry, lambda: health.why_not, look) as port:
            log.info("metrics_served", port=port)
            yield port
    except CannotServeMetrics as error:
        raise CannotListen(
            f"cannot serve metrics on {address}: it is taken, or not ours; "
            "METRICS_LISTEN names another, or off"
        ) from error


def _allow(patterns: tuple[str, ...] | None) -> Callable[[str], bool]:
    """Whether a DAG is served, by its id alone."""
    if patterns is None:
        return lambda dag_id: True
    return lambda dag_id: any(fnmatchcase(dag_id, pattern) for pattern in patterns)


async def _await_airflow(api: AirflowApi, health: Health, ready: asyncio.Event) -> None:
    """Report SERVING from Airflow's first answer to our account on."""

    async def first_answer() -> str:
        try:
            await api.prove_account()
            return await api.version()
        except (AirflowUnavailable, AirflowDenied, NotFound) as error:
            health.refuse(str(error))
            log.warning("airflow_not_ready", url=api.url, error=str(error))
            raise

    retrying = AsyncRetrying(
        retry=retry_if_exception_type((AirflowUnavailable, AirflowDenied, NotFound)),
        wait=wait_random_exponential(multiplier=0.5, max=5),
    )
    version: str = await retrying(first_answer)
    health.serve()
    ready.set()
    log.info("airflow_ready", version=version)
