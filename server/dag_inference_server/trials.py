"""Whether Airflow is away, and whether it is back, when nobody else asks."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow import TRIALS, AirflowApi, Breaker

log = structlog.get_logger(__name__)

_EVERY = 1.0
"""Seconds from one to the next."""


async def go_on_trying(api: AirflowApi, breaker: Breaker) -> None:
    """Ask, for ever, what calls ask, while Airflow is in doubt. The breaker takes it in.

    Airflow's health is no such thing: it is told without a database, too, and a proxy may tell or
    hide it as it likes. One that is not answered keeps no other back: it may be the only one.
    """
    trials: set[asyncio.Task[None]] = set()
    try:
        while True:
            await asyncio.sleep(_EVERY)
            if breaker.is_in_doubt and len(trials) < TRIALS:
                breaker.tried()
                trial = asyncio.create_task(_try(api))
                trials.add(trial)
                trial.add_done_callback(trials.discard)
            breaker.tell()
    finally:
        for trial in trials:
            trial.cancel()


async def _try(api: AirflowApi) -> None:
    try:
        with suppress(AirflowUnavailable, AirflowDenied):
            await api.prove_answers()
    except Exception:
        log.exception("airflow_trial_failed")
