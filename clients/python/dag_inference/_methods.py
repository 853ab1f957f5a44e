"""The methods of the service, as both clients open them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.message import Message

from dag_inference._requests import AnyRequest, RunRequest
from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    import grpc
    import grpc.aio

Request = TypeVar("Request", bound=AnyRequest)
Response = TypeVar("Response", bound=Message)

_SERVICE = pb.DESCRIPTOR.services_by_name["DagInference"]


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """A method, to be opened on a channel.

    Methods with one response are opened as streams of one as well. On the wire
    there is no difference, and in gRPC Python there is: a unary call shows its
    initial metadata, and with it the run id, only when the response is there;
    a stream shows it at once.
    """

    name: str
    response: type[Response]

    @property
    def path(self) -> str:
        """The path of its HTTP/2 requests."""
        return f"/{_SERVICE.full_name}/{self.name}"

    def on(self, channel: grpc.Channel) -> grpc.UnaryStreamMultiCallable[Request, Response]:
        """Open it for blocking calls."""
        return channel.unary_stream(self.path, _to_bytes, self.response.FromString)

    def on_aio(
        self, channel: grpc.aio.Channel
    ) -> grpc.aio.UnaryStreamMultiCallable[Request, Response]:
        """Open it for asyncio."""
        return channel.unary_stream(self.path, _to_bytes, self.response.FromString)


def _to_bytes(request: Message) -> bytes:
    return request.SerializeToString()


INVOKE: Method[pb.InvokeRequest, pb.InvokeResponse] = Method("Invoke", pb.InvokeResponse)
INVOKE_STREAM: Method[pb.InvokeRequest, pb.InvokeStreamResponse] = Method(
    "InvokeStream", pb.InvokeStreamResponse
)
WAIT: Method[pb.WaitRequest, pb.InvokeResponse] = Method("Wait", pb.InvokeResponse)
WATCH: Method[pb.WaitRequest, pb.InvokeStreamResponse] = Method("Watch", pb.InvokeStreamResponse)
CANCEL: Method[pb.CancelRequest, pb.CancelResponse] = Method("Cancel", pb.CancelResponse)
LIST_DAGS: Method[pb.ListDagsRequest, pb.ListDagsResponse] = Method("ListDags", pb.ListDagsResponse)
DESCRIBE_DAG: Method[pb.DescribeDagRequest, pb.DescribeDagResponse] = Method(
    "DescribeDag", pb.DescribeDagResponse
)


def for_result(request: RunRequest) -> Method[Any, pb.InvokeResponse]:
    """The method that answers it with the result alone."""
    return INVOKE if isinstance(request, pb.InvokeRequest) else WAIT


def for_events(request: RunRequest) -> Method[Any, pb.InvokeStreamResponse]:
    """The method that answers it with every step on the way."""
    return INVOKE_STREAM if isinstance(request, pb.InvokeRequest) else WATCH
