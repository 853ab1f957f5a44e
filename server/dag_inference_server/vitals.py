"""How Airflow itself does, as far as its own health endpoint and its answers say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow import AirflowApi, NotFound

log = structlog.get_logger(__name__)

_EVERY = 5.0
"""Seconds between two looks."""

_EVERY_WHILE_AWAY = 1.0
"""Seconds, likewise, while it does not answer."""

_AGAIN_AFTER = 0.5
"""Seconds until a look that failed is repeated before anybody is told: one request can be lost."""

_NEEDED = ("metadatabase", "scheduler")
"""Without one of these no run comes to its end. What else there is a DAG may or may not need."""


class Vitals:
    """Asks now and then, and remembers the answer."""

    def __init__(self, api: AirflowApi, tell: Callable[[bool], None]) -> None:
        """Know nothing yet; `tell` whether Airflow is well after each look."""
        self._api = api
        self._tell = tell
        self.components: Mapping[str, bool] = {}
        """Airflow's parts, and whether each is healthy; empty if it does not say."""

    @property
    def is_well(self) -> bool:
        """Whether runs can be made and come to their ends."""
        return all(self.components.get(name, False) for name in _NEEDED)

    async def go_on(self) -> None:
        """Look, for ever. No answer of Airflow's may end it."""
        while True:
            was_well, pause, why = self.is_well, _EVERY, "it names no part of its own"
            try:
                self.components = await self._look()
            except AirflowUnavailable as error:
                # What is away is looked for more often, so that its return is soon told.
                self.components, pause, why = {}, _EVERY_WHILE_AWAY, str(error)
            except (AirflowDenied, NotFound) as error:
                self.components, why = {}, str(error)
            except Exception:
                log.exception("airflow_health_failed")
                self.components, why = {}, "airflow_health_failed"
            if self.is_well != was_well:
                if self.is_well:
                    log.info("airflow_is_well")
                elif self.components:
                    ill = [name for name, is_up in self.components.items() if not is_up]
                    log.warning("airflow_is_ill", ill=ill)
                else:
                    log.warning("airflow_does_not_say_how_it_is", error=why)
            self._tell(self.is_well)
            await asyncio.sleep(pause)

    async def _look(self) -> Mapping[str, bool]:
        try:
            return await self._api.components()
        except AirflowUnavailable:
            await asyncio.sleep(_AGAIN_AFTER)
            return await self._api.components()
