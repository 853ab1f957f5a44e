"""Whether a port is free, for who would otherwise share it or learn too late that it is not."""

from __future__ import annotations

import errno
import socket
from typing import Any

_ANY = ("0.0.0.0", "::")  # noqa: S104 - not to bind to, but to know
"""Each of them is all addresses to gRPC."""


def check_free(address: str) -> None:
    """See that nobody listens on `HOST:PORT`, nor on an address that it stands for.

    Somebody may come a moment later: a port that may be shared is not kept for one.

    Raises:
        OSError: Somebody does.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    for family, where in _places("::" if host in _ANY else host, int(port)):
        with socket.socket(family) as probe:
            # Of connections that have ended nobody is in the way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if host in _ANY:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                probe.bind(where)
            except OSError as error:
                # What else there may be is for who listens to find.
                if error.errno == errno.EADDRINUSE:
                    raise


def _places(host: str, port: int) -> set[tuple[socket.AddressFamily, Any]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {(family, where) for family, _, _, _, where in found}
