"""gRPC's own view of its channels and sockets, for who looks for a connection that hangs."""

from __future__ import annotations

from typing import Any

import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

from dag_inference.v1 import dag_inference_pb2 as pb
from integration.gateway import Gateway
from integration.scraping import scrape
from integration.statuses import failure


def stub(gateway: Gateway) -> Any:
    """Of the service."""
    channel: Any = gateway.channel
    return channelz_pb2_grpc.ChannelzStub(channel)


@pytest.mark.parametrize("settings", [{"channelz": True}])
async def test_it_tells_of_the_server(gateway: Gateway) -> None:
    """With its calls; and its own RPCs count as those of every service."""
    await failure(gateway.stub.Invoke(pb.InvokeRequest(), timeout=5))

    servers = (await stub(gateway).GetServers(channelz_pb2.GetServersRequest())).server

    assert any(server.data.calls_started for server in servers)
    counted, handled = await scrape(gateway), "grpc_server_handled_total"
    assert counted(handled, grpc_method="GetServers", grpc_code="OK") == 1
    assert counted.shown(handled, grpc_method="GetChannel") == 0


async def test_off(gateway: Gateway) -> None:
    """Unless it is asked for, nobody is told."""
    failed = await failure(stub(gateway).GetServers(channelz_pb2.GetServersRequest()))

    assert failed.code.name == "UNIMPLEMENTED"
