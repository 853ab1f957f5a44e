"""What a gateway raises, the caller's `except` catches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from dag_inference import (
    AsyncDagInferenceClient,
    DagInferenceClient,
    DagInferenceError,
    DeadlineExceeded,
    RequestInvalid,
    ServiceError,
    Subject,
    TaskFailed,
    Violation,
)
from dag_inference.errors import BY_REASON, DOMAIN
from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.message import Message

Serve = Callable[..., str]
Ask = Callable[[str, float], Awaitable[object]]

ONCE = [("grpc.enable_retries", 0)]
"""What an error is does not depend on how often its call was repeated."""

SUBJECT = Subject(
    dag_id="iris",
    run_id="grpc__1",
    run_state="running",
    task_id="predict",
    map_index=0,
    try_number=2,
    exception_type="ValueError",
)


async def invoke(target: str, timeout: float) -> object:
    """Ask the blocking client."""
    with DagInferenceClient(target, options=ONCE) as client:
        return await asyncio.to_thread(client.invoke, "iris", timeout=timeout)


async def invoke_aio(target: str, timeout: float) -> object:
    """Ask the asyncio client."""
    async with AsyncDagInferenceClient(target, options=ONCE) as client:
        return await client.invoke("iris", timeout=timeout)


async def stream(target: str, timeout: float) -> object:
    """Ask the blocking client for a stream."""
    with DagInferenceClient(target, options=ONCE) as client:
        return await asyncio.to_thread(list, client.stream("iris", timeout=timeout))


async def stream_aio(target: str, timeout: float) -> object:
    """Ask the asyncio client for a stream."""
    async with AsyncDagInferenceClient(target, options=ONCE) as client:
        return [event async for event in client.stream("iris", timeout=timeout)]


every_way = pytest.mark.parametrize("ask", [invoke, invoke_aio, stream, stream_aio])


def abort(code: grpc.StatusCode, message: str, *details: Message) -> Callable[..., Any]:
    """A method that ends with a `google.rpc.Status`."""
    status = Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)

    def method(request: pb.InvokeRequest, context: grpc.ServicerContext) -> None:
        context.abort_with_status(rpc_status.to_status(status))

    return method


async def caught(ask: Ask, target: str, *, timeout: float = 20) -> DagInferenceError:
    """Catch what it raises."""
    with pytest.raises(DagInferenceError) as raised:
        await ask(target, timeout)
    assert isinstance(raised.value.__cause__, grpc.RpcError)
    return raised.value


@every_way
@pytest.mark.parametrize("reason", BY_REASON)
async def test_every_reason_is_its_exception(serve: Serve, ask: Ask, reason: str) -> None:
    """Each reason of the contract arrives as its class, with all that was said."""
    kind = BY_REASON[reason]
    bad_request = BadRequest()
    bad_request.field_violations.add(field="conf.n", description="must be a number")
    retry = RetryInfo()
    retry.retry_delay.FromTimedelta(timedelta(seconds=1.5))
    info = ErrorInfo(reason=reason, domain=DOMAIN, metadata=SUBJECT.to_metadata())
    method = abort(kind.code, "It went wrong.", info, retry, bad_request)

    error = await caught(ask, serve(Invoke=method, InvokeStream=method))

    assert type(error) is kind
    assert error.code is kind.code
    assert error.message == "It went wrong."
    assert error.subject == SUBJECT
    assert error.run_id == "grpc__1"
    assert error.retry_after == timedelta(seconds=1.5)
    assert error.violations == (Violation("conf.n", "must be a number"),)


@every_way
async def test_the_status_code_is_the_one_that_was_sent(serve: Serve, ask: Ask) -> None:
    """An operator may have chosen another code for a failed task, which it is all the same."""
    info = ErrorInfo(reason="TASK_FAILED", domain=DOMAIN, metadata=SUBJECT.to_metadata())
    method = abort(grpc.StatusCode.INVALID_ARGUMENT, "No.", info)

    error = await caught(ask, serve(Invoke=method, InvokeStream=method))

    assert type(error) is TaskFailed
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.run_id == "grpc__1"
    assert error.task_id == "predict"
    assert error.exception_type == "ValueError"


@every_way
async def test_what_was_not_said_is_not_there(serve: Serve, ask: Ask) -> None:
    """Without RetryInfo there is nothing to wait for, without BadRequest no field."""
    method = abort(grpc.StatusCode.ABORTED, "", ErrorInfo(reason="RUN_DELETED", domain=DOMAIN))

    error = await caught(ask, serve(Invoke=method, InvokeStream=method))

    assert error.retry_after is None
    assert error.violations == ()
    assert error.subject == Subject(dag_id="iris")


@every_way
async def test_a_reason_of_a_newer_gateway_is_kept_in_the_message(serve: Serve, ask: Ask) -> None:
    """It is the base class, and nothing of what was said is lost."""
    info = ErrorInfo(reason="NEW_ONE", domain=DOMAIN, metadata={"run_id": "grpc__1", "new": "x"})
    method = abort(grpc.StatusCode.ABORTED, "It went wrong.", info)

    error = await caught(ask, serve(Invoke=method, InvokeStream=method))

    assert type(error) is DagInferenceError
    assert str(error) == "ABORTED: NEW_ONE: It went wrong."
    assert error.run_id == "grpc__1"


@every_way
async def test_errors_of_something_on_the_way_are_the_base_class(serve: Serve, ask: Ask) -> None:
    """A proxy has other domains or no details at all; its code and words remain."""
    foreign = abort(
        grpc.StatusCode.PERMISSION_DENIED, "RBAC", ErrorInfo(reason="TASK_FAILED", domain="mesh")
    )
    bare = abort(grpc.StatusCode.PERMISSION_DENIED, "RBAC")

    for method in (foreign, bare):
        error = await caught(ask, serve(Invoke=method, InvokeStream=method))
        assert type(error) is DagInferenceError
        assert str(error) == "PERMISSION_DENIED: RBAC"


@every_way
async def test_details_that_contradict_the_status_are_not_believed(serve: Serve, ask: Ask) -> None:
    """Only what comes whole from a gateway is taken for its word."""
    status = Status(code=grpc.StatusCode.ABORTED.value[0], message="It went wrong.")
    status.details.add().Pack(ErrorInfo(reason="TASK_FAILED", domain=DOMAIN))

    def method(request: pb.InvokeRequest, context: grpc.ServicerContext) -> None:
        details = status.SerializeToString()
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(grpc.StatusCode.INTERNAL, "Changed.")

    error = await caught(ask, serve(Invoke=method, InvokeStream=method))

    assert type(error) is DagInferenceError
    assert str(error) == "INTERNAL: Changed."


@every_way
async def test_a_gateway_that_nobody_listens_at_is_named(nobody: str, ask: Ask) -> None:
    """The message says which address could not be reached."""
    error = await caught(ask, nobody)

    assert type(error) is ServiceError
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert nobody in error.message


@every_way
async def test_a_method_that_is_not_served_yet_is_told_plainly(serve: Serve, ask: Ask) -> None:
    """A bare UNIMPLEMENTED is a sentence with the gateway in it."""
    target = serve()

    error = await caught(ask, target)

    assert error.code is grpc.StatusCode.UNIMPLEMENTED
    assert f"the gateway at {target} does not serve this method" in error.message


@every_way
@pytest.mark.parametrize("run_id", ["grpc__1", None])
async def test_the_local_deadline_does_not_lose_the_run(
    serve: Serve, ask: Ask, run_id: str | None
) -> None:
    """When the clock rings here, the error has the run id if it had arrived."""

    def hang(request: pb.InvokeRequest, context: grpc.ServicerContext) -> None:
        gone = Event()
        context.add_callback(gone.set)
        context.send_initial_metadata((("dag-run-id", run_id),) if run_id else ())
        gone.wait(5)

    error = await caught(ask, serve(Invoke=hang, InvokeStream=hang), timeout=0.5)

    assert type(error) is DeadlineExceeded
    assert error.subject == Subject(dag_id="iris", run_id=run_id)


def test_a_run_that_was_asked_for_is_named_by_the_error(serve: Serve) -> None:
    """The local deadline of `wait` is about the run of the request."""

    def hang(request: pb.WaitRequest, context: grpc.ServicerContext) -> pb.InvokeResponse:
        gone = Event()
        context.add_callback(gone.set)
        gone.wait(5)
        return pb.InvokeResponse()

    with DagInferenceClient(serve(Wait=hang)) as client, pytest.raises(DeadlineExceeded) as raised:
        client.wait("iris", "grpc__7", timeout=0.1)

    assert raised.value.run_id == "grpc__7"


async def test_a_task_that_is_cancelled_gives_the_call_up(serve: Serve) -> None:
    """The gateway learns that nobody waits any more."""
    there, gone = Event(), Event()

    def hang(request: pb.InvokeRequest, context: grpc.ServicerContext) -> pb.InvokeResponse:
        context.add_callback(gone.set)
        there.set()
        gone.wait(5)
        return pb.InvokeResponse()

    async with AsyncDagInferenceClient(serve(Invoke=hang)) as client:
        task = asyncio.create_task(client.invoke("iris"))
        assert await asyncio.to_thread(there.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(gone.wait, 5)


@every_way
async def test_a_request_that_is_not_read(serve: Serve, ask: Ask) -> None:
    """What gRPC finds too large is the request's fault, and not to be repeated."""
    message = "SERVER: Received message larger than max (9000035 vs. 8388608)"
    target = serve(
        Invoke=abort(grpc.StatusCode.RESOURCE_EXHAUSTED, message),
        InvokeStream=abort(grpc.StatusCode.RESOURCE_EXHAUSTED, message),
    )

    error = await caught(ask, target)

    assert isinstance(error, RequestInvalid)
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
