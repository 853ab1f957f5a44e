"""What both clients do around a call, whether they block or await."""

from __future__ import annotations

from asyncio import CancelledError, current_task
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from grpc import RpcError, StatusCode

from dag_inference._metadata import run_id_in
from dag_inference._status import exception_from
from dag_inference.errors import DagInferenceError, ServiceError, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dag_inference._metadata import Metadata
    from dag_inference._requests import AnyRequest

    OnRun = Callable[[str], object]

Response = TypeVar("Response")


class Call(Protocol):
    """What blocking and asyncio calls have in common."""

    def cancel(self) -> bool: ...


@contextmanager
def attended(
    call: Call,
    request: AnyRequest,
    target: str,
) -> Iterator[None]:
    """Raise the call's errors as those of the table, and leave no call behind."""
    try:
        yield
    except RpcError as error:
        run_id = getattr(request, "run_id", None) or _run_id_before(error)
        asked = Subject(getattr(request, "dag_id", None), run_id)
        raise exception_from(error, target=target, asked=asked) from error
    except CancelledError as error:
        # What grpc.aio makes of a channel that is closed, though nobody has cancelled the task.
        task = current_task()
        if task is None or task.cancelling():
            raise
        message = "the channel was closed"
        raise ServiceError(message, code=StatusCode.CANCELLED) from error
    finally:
        # Nothing happens if it has ended. If it has not, the caller broke off.
        call.cancel()


def _run_id_before(error: RpcError) -> str | None:
    """The run id that came with an error, in the same instant: nobody has seen it then."""
    metadata = getattr(error, "initial_metadata", None)
    return run_id_in(metadata()) if metadata is not None else None


def announce(metadata: Metadata, on_run: OnRun | None) -> None:
    """Tell the caller the run id, if there is a run."""
    run_id = run_id_in(metadata)
    if on_run and run_id:
        on_run(run_id)


def only(responses: Sequence[Response]) -> Response:
    """Take the one response of a method that has one."""
    if len(responses) != 1:
        raise DagInferenceError(
            f"{len(responses)} responses came where the contract has one",
            code=StatusCode.INTERNAL,
        )
    return responses[0]
