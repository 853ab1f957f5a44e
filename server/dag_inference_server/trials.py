"""Whether Airflow is back, when nobody else asks."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow import AirflowApi, Breaker

log = structlog.get_logger(__name__)

_EVERY = 1.0
"""Seconds from one to the next: each may take as long as any request."""


async def go_on_trying(api: AirflowApi, breaker: Breaker) -> None:
    """Ask, for ever, what calls ask, while Airflow is in doubt. The breaker takes it in.

    Airflow's health is no such thing: it is told without a database, too, and a proxy may tell or
    hide it as it likes.
    """
    while True:
        await asyncio.sleep(_EVERY)
        if not breaker.is_in_doubt:
            continue
        try:
            with suppress(AirflowUnavailable, AirflowDenied):
                await api.prove_answers()
        except Exception:
            log.exception("airflow_trial_failed")
