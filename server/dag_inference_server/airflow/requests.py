"""Requests as `apache-airflow-client` writes them, unsent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from airflow_client.client import ApiClient


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is ready to be sent, as often as need be."""

    operation: str
    """What it is, without what it is about: `GET /dags/{}/dagRuns/{}`."""
    url: str
    """With its query, all of it percent-encoded."""
    headers: Mapping[str, str]
    body: bytes | None = None

    @property
    def method(self) -> str:
        """Of HTTP."""
        return self.operation.partition(" ")[0]


_PART = re.compile(r"\{\w+\}")

Operation: TypeAlias = Callable[..., Any]
"""A `…_without_preload_content` method of `airflow_client`; bound to its arguments, it gives a
`Request`, whatever its annotations say. Called anew for each sending, when its turn has come.
"""


class Writer(ApiClient):
    """Writes requests where the client's own sends them.

    The client knows the paths, the parameters and how they are encoded. How it sends does not
    fit a gateway: each request would hold a thread, and spend twice the CPU in it.
    """

    def param_serialize(  # noqa: D102 - the client's own method
        self,
        method: str,
        resource_path: str,
        path_params: Mapping[str, str] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        _, *written = super().param_serialize(method, resource_path, path_params, *args, **kwargs)
        any_of = (name for name, value in (path_params or {}).items() if value == "~")
        # As the method: the client hands over what this gives to `call_api`.
        return _operation(method, resource_path, *any_of), *written

    def call_api(  # noqa: D102 - the client's own method
        self,
        method: str,
        url: str,
        header_params: Mapping[str, str] | None = None,
        body: Any = None,
        post_params: Any = None,
        _request_timeout: Any = None,
    ) -> Any:
        operation = method
        encoded = None if body is None else json.dumps(body).encode()
        return _Written(Request(operation, url, dict(header_params or {}), encoded))


@cache
def _operation(method: str, path: str, *any_of: str) -> str:
    """The name of a request to a path of the API, in which these parts stand for any."""
    for name in any_of:
        path = path.replace(f"{{{name}}}", "~")
    return f"{method} {_PART.sub('{}', path.removeprefix('/api/v2'))}"


@dataclass(frozen=True, slots=True)
class _Written:
    """What the client takes for the response, and hands over as it is."""

    response: Request
