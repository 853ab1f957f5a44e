"""The gRPC server: what it bears, what people can look at it with, and where it listens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.edge.undecodable import RefuseUndecodable
from dag_inference_server.inference import open_inference_pb2
from dag_inference_server.settings import Settings
from dag_inference_server.side_by_side import SideBySide

_SERVICES = (
    pb.DESCRIPTOR.services_by_name["DagInference"],
    open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
    health_pb2.DESCRIPTOR.services_by_name["Health"],
)
_REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
_CHANNELZ = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]

_SIDE_BY_SIDE = 8
"""Servers that share the port. Of a gateway whose core is busy, over eight connections, refusals
come in a third of the time that they take with one server (`make bench`, overload)."""


class CannotListen(Exception):
    """The address is taken, or none of this machine's."""


def services(settings: Settings) -> Sequence[Any]:
    """The descriptors of all services that are served."""
    tools = ((_REFLECTION, settings.reflection), (_CHANNELZ, settings.channelz))
    return (*_SERVICES, *(service for service, is_on in tools if is_on))


def make_server(
    settings: Settings, interceptors: Sequence[grpc.aio.ServerInterceptor]
) -> grpc.aio.Server:
    """A server with these interceptors, the first outermost, and what the settings say."""
    # In this order: what cannot be decoded counts, too.
    interceptors = [*interceptors, RefuseUndecodable(settings.max_request_bytes)]
    return SideBySide(partial(_make_one, settings, interceptors), _SIDE_BY_SIDE)


def _make_one(
    settings: Settings, interceptors: Sequence[grpc.aio.ServerInterceptor]
) -> grpc.aio.Server:
    return grpc.aio.server(
        interceptors=interceptors,
        options=[
            ("grpc.enable_channelz", int(settings.channelz)),
            # With each other, and with who comes later, is the same user, and does as much.
            ("grpc.so_reuseport", 1),
            # What is too large gets a coded error of ours: up to a size that costs nothing.
            ("grpc.max_receive_message_length", 2 * settings.max_request_bytes),
            # Likewise, before it is sent.
            ("grpc.max_send_message_length", -1),
            *_connections(settings),
            # The defaults drop a burst of calls before any handler has seen them.
            ("grpc.server.max_pending_requests", settings.max_pending_calls),
            ("grpc.server.max_pending_requests_hard_limit", 2 * settings.max_pending_calls),
            # A call of a burst may have to wait longer than the default 30 s until its
            # turn comes; then it would be cancelled without a word.
            ("grpc.server_max_unrequested_time_in_server", 3600),
        ],
    )


def add_tools(server: grpc.aio.Server, settings: Settings) -> None:
    """What people look at a server with."""
    if settings.reflection:
        names = [service.full_name for service in services(settings)]
        reflection.enable_server_reflection(names, server)
    if settings.channelz:
        channelz.add_channelz_servicer(server)


def listen(server: grpc.aio.Server, address: str) -> int:
    """Listen there; gives the port.

    Raises:
        CannotListen: The address is taken, or none of this machine's.
    """
    try:
        port = server.add_insecure_port(address)
    except (OSError, RuntimeError) as error:
        raise CannotListen(f"cannot listen on {address}: it is taken, or not ours") from error
    if not port:
        raise CannotListen(f"cannot listen on {address}: it is taken, or not ours")
    return port


def _connections(settings: Settings) -> list[tuple[str, int]]:
    """How long connections live, and how it is seen that they do not."""
    timeout = _milliseconds(settings.keepalive_timeout)
    options = [
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        ("grpc.keepalive_time_ms", _milliseconds(settings.keepalive_interval)),
        ("grpc.keepalive_timeout_ms", timeout),
        # What grpcio 1.85 really goes by.
        ("grpc.http2.ping_timeout_ms", timeout),
        ("grpc.keepalive_permit_without_calls", 1),
        (
            # What gRPC calls MIN_RECV_PING_INTERVAL_WITHOUT_DATA.
            "grpc.http2.min_ping_interval_without_data_ms",
            _milliseconds(settings.client_keepalive_interval),
        ),
    ]
    if settings.max_connection_age:
        options += [
            ("grpc.max_connection_age_ms", _milliseconds(settings.max_connection_age)),
            # No call is cut off by the age of its connection.
            ("grpc.max_connection_age_grace_ms", _milliseconds(settings.max_deadline + 60)),
        ]
    return options


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
