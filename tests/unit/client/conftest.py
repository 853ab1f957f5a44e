"""A gateway in this process, made of the methods that a test hands over."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from dag_inference.v1 import dag_inference_pb2_grpc as rpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Make a gateway of functions, named as the methods that they are."""
    with ExitStack() as running:

        def start(**methods: Callable[..., Any]) -> str:
            gateway = type(
                "Gateway",
                (rpc.DagInferenceServicer,),
                {name: staticmethod(method) for name, method in methods.items()},
            )
            server = grpc.server(ThreadPoolExecutor(max_workers=4))
            rpc.add_DagInferenceServicer_to_server(gateway(), server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            running.callback(lambda: server.stop(None).wait())
            return f"127.0.0.1:{port}"

        yield start


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that nobody listens at, and that nobody else can take."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"
