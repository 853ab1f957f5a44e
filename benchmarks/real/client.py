"""A client of Airflow's API that waits as long as it takes, on as many connections as it takes."""

from __future__ import annotations

import httpx

_FOR_EVER = httpx.Timeout(None)


def client(url: str, token: str) -> httpx.AsyncClient:
    """A client of the Airflow at `url`."""
    return httpx.AsyncClient(
        base_url=f"{url}/api/v2",
        headers={"authorization": f"Bearer {token}"},
        timeout=_FOR_EVER,
        limits=httpx.Limits(max_connections=None),
    )
