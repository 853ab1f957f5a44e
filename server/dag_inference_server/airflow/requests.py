"""Requests as `apache-airflow-client` writes them, unsent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from airflow_client.client import ApiClient


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is ready to be sent, as often as need be."""

    method: str
    url: str
    """With its query, all of it percent-encoded."""
    headers: Mapping[str, str]
    body: bytes | None = None


Operation: TypeAlias = Callable[..., Any]
"""A `…_without_preload_content` method of `airflow_client`; bound to its arguments, it gives a
`Request`, whatever its annotations say. Called anew for each sending, when its turn has come.
"""


class Writer(ApiClient):
    """Writes requests where the client's own sends them.

    The client knows the paths, the parameters and how they are encoded. How it sends does not
    fit a gateway: each request would hold a thread, and spend twice the CPU in it.
    """

    def call_api(  # noqa: D102 - the client's own method
        self,
        method: str,
        url: str,
        header_params: Mapping[str, str] | None = None,
        body: Any = None,
        post_params: Any = None,
        _request_timeout: Any = None,
    ) -> Any:
        encoded = None if body is None else json.dumps(body).encode()
        return _Written(Request(method, url, dict(header_params or {}), encoded))


@dataclass(frozen=True, slots=True)
class _Written:
    """What the client takes for the response, and hands over as it is."""

    response: Request
