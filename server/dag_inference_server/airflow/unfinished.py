"""The look for all runs of the gateway that have not ended, with what the account may list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow.answers import DagRun
from dag_inference_server.airflow.api import ANY, AirflowApi
from dag_inference_server.airflow.listings import Listings
from dag_inference_server.airflow.pages import all_pages
from dag_inference_server.airflow.statuses import NotFound

log = structlog.get_logger(__name__)

_AWAY = 5
"""DAGs in a row that cannot be read: it is not they that are ill."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Runs that have not ended."""

    runs: Sequence[DagRun]
    dag_ids: frozenset[str] | None = None
    """The DAGs that were heard of, where that is not all of them."""

    def tells_of(self, dag_id: str) -> bool:
        """Whether a run of this DAG that is not among them has ended."""
        return self.dag_ids is None or dag_id in self.dag_ids


class UnfinishedRuns:
    """Finds the gateway's runs that have not ended, of any age."""

    def __init__(
        self,
        api: AirflowApi,
        listings: Listings,
        *,
        is_ours: Callable[[str], bool],
        serves: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Find runs whose ids are ours; by DAG, only in those that are served."""
        self._api = api
        self._listings = listings
        self._is_ours = is_ours
        self._serves = serves

    async def find(self) -> Unfinished:
        """All that there are now.

        In any DAG; in those that are served and in their files, where the account may not list
        all. A DAG that cannot be read is left out.

        Raises:
            AirflowDenied: The account is refused the DAGs themselves.
            AirflowUnavailable: Airflow is away.
        """
        if not self._listings.asks_by_dag:
            with suppress(AirflowDenied):
                return Unfinished(await self._of(ANY))
        # Such an account sees few DAGs, or it would be granted all of them.
        dags = [
            dag.dag_id
            for dag in await all_pages(self._api.dags)
            if self._serves(dag.dag_id) and not dag.is_stale
        ]
        runs: list[DagRun] = []
        heard: set[str] = set()
        unheard: list[AirflowUnavailable] = []
        for dag_id in dags:
            try:
                runs += await self._of(dag_id)
            except (AirflowDenied, NotFound):
                continue
            except AirflowUnavailable as error:
                log.warning("airflow_listing_failed", dag_id=dag_id, error=str(error))
                unheard.append(error)
                if len(unheard) == _AWAY:
                    raise
            else:
                heard.add(dag_id)
                unheard.clear()
        if heard:
            self._listings.ask_by_dag(len(dags))
        elif unheard:
            raise unheard[0]
        return Unfinished(runs, frozenset(heard))

    async def _of(self, dag_id: str) -> list[DagRun]:
        runs = await self._listings.runs(dag_id, states=("queued", "running"))
        return [run for run in runs if self._is_ours(run.run_id)]
