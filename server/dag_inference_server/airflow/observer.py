"""Who is told of the requests to Airflow."""

from __future__ import annotations

from typing import Protocol

_NAMES = frozenset(
    {
        *("api", "v2", "version", "auth", "token", "dags", "details", "tasks", "dagSources"),
        *("monitor", "health"),
        *("dagRuns", "wait", "taskInstances", "xcomEntries", "logs", "eventLogs", "~"),
    }
)
"""What stands in a path beside ids."""


LOGIN = "POST /auth/token"
"""The operation that fetches a token."""


class RequestObserver(Protocol):
    """Is told of every request that was sent."""

    def requested(self, operation: str, status: int | None, seconds: float) -> None:
        """One was answered, or not (`None`), after so many seconds."""


def operation_of(method: str, url: str, base: str) -> str:
    """What a request is, without what it is about: `GET /dags/{}/dagRuns/{}`.

    `base` is where Airflow answers, which may be a path of a host.
    """
    path = url.removeprefix(base).partition("?")[0].removeprefix("/api/v2")
    return f"{method} " + "/".join(
        part if part in _NAMES or not part else "{}" for part in path.split("/")
    )
