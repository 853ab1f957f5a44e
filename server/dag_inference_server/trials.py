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
    trials: list[asyncio.Task[None]] = []
    try:
        while True:
            await asyncio.sleep(_EVERY)
            if breaker.is_in_doubt:
                if len(trials) >= TRIALS:
                    # Not the first, which a slow Airflow may be about to answer: what was sent
                    # to one that has come back since may never be.
                    trials[1].cancel()
                trial = asyncio.create_task(_try(api))
                trials.append(trial)
                trial.add_done_callback(trials.remove)
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
