"""What our own channels are given: limits, and when they repeat a call by themselves."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVICE_CONFIG = files(__package__).joinpath("service_config.json").read_text(encoding="utf-8")
"""A gRPC service config (gRFC A6), which any other language can take as it is.

Repeating is safe because a repeated `Invoke` has the same `request_id`. `UNAVAILABLE` is repeated,
and `CANCELLED`, which a gRPC server says of calls that reach it while it stops; what the caller has
cancelled is not. `RESOURCE_EXHAUSTED` is also what gRPC says of a message that is too large, for
ever.
The five attempts take about five seconds, and so bridge the restart of a gateway; where the
gateway says when to come back, it is that instead. The tokens are for one process and one
gateway: a hundred calls may fail at once and all be repeated, and an outage ends the repeats.
"""

_BALANCED = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "dag_inference.v1.DagInference"},
}
"""What is added where several gateways are behind one name: each gets its share of the calls,
unless its own health says that it goes away (gRFC A17)."""

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    # The gateway has a limit of its own, and an error for it that says more.
    ("grpc.max_receive_message_length", -1),
    # What is larger is not repeated: by default 256 KiB, and a conf may have 4 MiB.
    ("grpc.per_rpc_retry_buffer_size", 5 * 1024 * 1024),
    # Between two tries to connect, a channel does not see that its gateway is back: by default
    # that is 1 s, 1.6 s and so on up to 2 minutes, and the repeats are over before.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def check_target(target: str) -> str:
    """A target, if it is no URL of the web, which gRPC would look up as a name.

    Raises:
        ValueError: It is one.
    """
    if target.startswith(("http://", "https://")):
        raise ValueError(f"the target is HOST:PORT, without http://: not {target}")
    return target


def channel_options(
    options: Sequence[tuple[str, Any]], *, balanced: bool = False
) -> Sequence[tuple[str, Any]]:
    """The caller's options, and of ours those that it does not set."""
    config = json.dumps(json.loads(SERVICE_CONFIG) | _BALANCED) if balanced else SERVICE_CONFIG
    ours = (*_OPTIONS, ("grpc.service_config", config))
    # gRPC would take the first of two.
    named = {name for name, _ in options}
    return (*(option for option in ours if option[0] not in named), *options)
