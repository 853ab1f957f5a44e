"""The asyncio client: `client.py` with `await`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import grpc.aio

from dag_inference import _methods
from dag_inference._calls import announce, attended, only
from dag_inference._channels import channel_options, check_target
from dag_inference._comeback import Comeback
from dag_inference._dags import dag_from, list_request
from dag_inference._events import Accepted, event_from
from dag_inference._requests import invoke_request, patience, wait_request
from dag_inference._results import result_from
from dag_inference._runs import run_from
from dag_inference.errors import DagInferenceError
from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from types import TracebackType
    from typing import Unpack

    from dag_inference._calls import OnRun
    from dag_inference._dags import Dag
    from dag_inference._events import Event
    from dag_inference._methods import Method, Request, Response
    from dag_inference._requests import InvokeOptions, RunRequest, WaitOptions
    from dag_inference._results import Result
    from dag_inference._runs import Run


class AsyncDagInferenceClient:
    """Calls DAGs through a gateway, and awaits their answers.

    One client holds one HTTP/2 connection, may be shared by the tasks of the
    event loop that it was made in, and is closed by `async with` or `close()`.
    Cancelling a task that waits gives the call up; `on_disconnect` says what becomes of the run.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        channel: grpc.aio.Channel | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
        reattach: bool = True,
        balanced: bool = False,
    ) -> None:
        """Open a channel; the connection is made by the first call.

        Args:
            target: The gateway, `host:port` or any other gRPC name.
            channel: A channel to use instead, for interceptors and tests. The
                client does not close it, and `target` only stands in messages. It
                repeats no call, unless it has a service config that says so.
            credentials: For TLS. Left out: plain text.
            options: Channel arguments as in `grpc.aio.insecure_channel`, which win over
                the client's own; `("grpc.enable_retries", 0)` ends all repeats.
            reattach: Whether a call that loses its gateway goes on by itself, as
                `wait` or `watch`, once its run is known to exist.
            balanced: Whether the target names several gateways that are to share the
                calls, as `dns:///` and `ipv4:HOST:PORT,HOST:PORT` can: one that goes
                away or is not ready gets none. Not for a proxy: its one answer on
                health is that of a single gateway behind it.
        """
        self._target = target
        self._channel = channel or _open(
            target, credentials, channel_options(options, balanced=balanced)
        )
        self._owns_channel = channel is None
        self._reattach = reattach

    async def __aenter__(self) -> Self:
        """Use the client in an `async with` statement."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the connection. Calls in flight are given up, as `on_disconnect` says.

        They end with a `DagInferenceError` of the code `CANCELLED`.
        """
        if self._owns_channel:
            self._reattach = False
            await self._channel.close()

    async def invoke(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[InvokeOptions],
    ) -> dict[str, Any]:
        """Trigger a run of a DAG and return its result.

        What the result task returned if that is an object, else
        `{"return_value": value}`; `{task_id: value}` of a DAG that declares
        several result tasks; `{}` of one that has none. `call` tells which.

        Args:
            dag_id: The DAG.
            conf: Its conf, sent exactly. Left out: every param has its default.
            timeout: How long to wait, in seconds. Left out: the gateway's default.
            options: As in `InvokeOptions`.

        Raises:
            DagInferenceError: One of the classes in `dag_inference.errors`.
            TypeError: `conf` holds what JSON has not.
            ValueError: `conf` holds NaN or an infinity.
        """
        result = await self.call(dag_id, conf, timeout=timeout, **options)
        return result.value

    async def call(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        on_run: OnRun | None = None,
        **options: Unpack[InvokeOptions],
    ) -> Result:
        """Do as `invoke`, and say more: the run, and where the time went.

        Args:
            dag_id: As in `invoke`.
            conf: As in `invoke`.
            timeout: As in `invoke`.
            on_run: Called once with the run id as soon as the run exists.
            options: As in `InvokeOptions`.
        """
        request = invoke_request(dag_id, conf, **options)
        return await self._result(request, timeout, on_run)

    def stream(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[InvokeOptions],
    ) -> AsyncGenerator[Event, None]:
        """Trigger a run of a DAG, now, and tell every step on the way.

        The first event is `Accepted`, the last one `Completed` with the result.
        When the gateway was lost on the way, `Accepted` comes once more, and then
        where the run stands. Errors are raised by the iteration. To break off early, close the
        generator (`contextlib.aclosing`); see `on_disconnect`.

        Args:
            dag_id: As in `invoke`.
            conf: As in `invoke`.
            timeout: As in `invoke`.
            options: As in `InvokeOptions`.
        """
        request = invoke_request(dag_id, conf, **options)
        return self._events(request, timeout)

    async def wait(
        self,
        dag_id: str,
        run_id: str,
        *,
        timeout: float | None = None,
        **options: Unpack[WaitOptions],
    ) -> Result:
        """Wait for a run that exists, as `call` would have.

        Args:
            dag_id: The DAG.
            run_id: The run, from `DagInferenceError.run_id`, `Run` or `on_run`.
            timeout: As in `invoke`.
            options: As in `WaitOptions`; they are not remembered from the call
                that made the run.
        """
        request = wait_request(dag_id, run_id, **options)
        return await self._result(request, timeout)

    def watch(
        self,
        dag_id: str,
        run_id: str,
        *,
        timeout: float | None = None,
        **options: Unpack[WaitOptions],
    ) -> AsyncGenerator[Event, None]:
        """Tell where a run that exists stands and every step from there on.

        Args:
            dag_id: As in `wait`.
            run_id: As in `wait`.
            timeout: As in `wait`.
            options: As in `wait`.
        """
        return self._events(wait_request(dag_id, run_id, **options), timeout)

    async def cancel(
        self, dag_id: str, run_id: str, *, comment: str = "", timeout: float | None = None
    ) -> Run:
        """End a run, and return it as it was afterwards.

        Args:
            dag_id: As in `wait`.
            run_id: As in `wait`.
            comment: Why, for the people who look at the run in Airflow.
            timeout: As in `invoke`.
        """
        request = pb.CancelRequest(dag_id=dag_id, run_id=run_id, comment=comment)
        return run_from((await self._answer(_methods.CANCEL, request, patience(timeout))).run)

    async def dags(
        self, *, tags: Sequence[str] = (), timeout: float | None = None
    ) -> AsyncIterator[Dag]:
        """Tell which DAGs the gateway serves, in the order of their ids, page by page.

        Args:
            tags: Only those with all of these tags.
            timeout: How long each page may take, as in `invoke`.
        """
        page_token = ""
        while True:
            request = list_request(tags, page_token)
            page = await self._answer(_methods.LIST_DAGS, request, patience(timeout))
            for message in page.dags:
                yield dag_from(message)
            page_token = page.next_page_token
            if not page_token:
                return

    async def describe(self, dag_id: str, *, timeout: float | None = None) -> Dag:
        """Tell how a DAG is called: its params, its result, and whether it can run.

        Args:
            dag_id: The DAG.
            timeout: As in `invoke`.
        """
        request = pb.DescribeDagRequest(dag_id=dag_id)
        return dag_from((await self._answer(_methods.DESCRIBE_DAG, request, patience(timeout))).dag)

    async def _result(
        self, request: RunRequest, timeout: float | None, on_run: OnRun | None = None
    ) -> Result:
        comeback = Comeback(request, timeout, allowed=lambda: self._reattach)
        tell = comeback.telling(on_run)
        while True:
            try:
                response = await self._answer(
                    _methods.for_result(request),
                    request,
                    comeback.timeout,
                    tell,
                    wait_for_ready=comeback.waits_for_gateway,
                )
            except DagInferenceError as error:
                request = comeback.request_after(error)
            else:
                return result_from(response)

    async def _answer(
        self,
        method: Method[Request, Response],
        request: Request,
        timeout: float | None,
        on_run: OnRun | None = None,
        *,
        wait_for_ready: bool = False,
    ) -> Response:
        call = method.on_aio(self._channel)(request, timeout=timeout, wait_for_ready=wait_for_ready)
        with attended(call, request, self._target):
            announce(await call.initial_metadata(), on_run)
            return only([response async for response in call])

    def _events(self, request: RunRequest, timeout: float | None) -> AsyncGenerator[Event, None]:
        comeback = Comeback(request, timeout, allowed=lambda: self._reattach)
        begun = _methods.for_events(request).on_aio(self._channel)(
            request, timeout=comeback.timeout
        )

        # Apart, because a generator begins only when it is iterated.
        async def told() -> AsyncGenerator[Event, None]:
            call, asked = begun, request
            while True:
                try:
                    with attended(call, asked, self._target):
                        async for response in call:
                            event = event_from(response)
                            if isinstance(event, Accepted):
                                comeback.exists(event.run.run_id)
                            if event:
                                yield event
                except DagInferenceError as error:
                    asked = comeback.request_after(error)
                    call = _methods.for_events(asked).on_aio(self._channel)(
                        asked, timeout=comeback.timeout, wait_for_ready=comeback.waits_for_gateway
                    )
                else:
                    return

        return told()


def _open(
    target: str,
    credentials: grpc.ChannelCredentials | None,
    arguments: Sequence[tuple[str, Any]],
) -> grpc.aio.Channel:
    check_target(target)
    if credentials is None:
        return grpc.aio.insecure_channel(target, arguments)
    return grpc.aio.secure_channel(target, credentials, arguments)
