"""Who is told of the requests to Airflow."""

from __future__ import annotations

from typing import Protocol

LOGIN = "POST /auth/token"
"""The operation that fetches a token."""


class RequestObserver(Protocol):
    """Is told of every request that was sent."""

    def requested(self, operation: str, status: int | None, seconds: float) -> None:
        """One was answered, or not (`None`), after so many seconds."""
