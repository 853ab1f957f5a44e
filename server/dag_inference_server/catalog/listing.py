"""The DAGs that are served, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from dag_inference.errors import Subject
from dag_inference_server.airflow import AirflowApi, Breaker, Dag

PAGE = 100
"""Airflow's own limit (`[api] maximum_page_limit`)."""

_REQUESTS = 10
"""Pages of Airflow's that one of ours may take, where most DAGs are not served here."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a listing goes on."""

    offset: int
    """How many of Airflow's rows come before."""
    after: str
    """The DAG of the last of them: found again when DAGs have come or gone meanwhile."""


class DagListing:
    """Lists DAGs in the order of Airflow's database, which is that of their ids."""

    def __init__(self, api: AirflowApi, breaker: Breaker, serves: Callable[[str], bool]) -> None:
        """List what `serves` lets through, by id, and what is not gone from its file for good."""
        self._api = api
        self._breaker = breaker
        self._serves = serves

    async def page(
        self, size: int, tags: Sequence[str], place: Place | None
    ) -> tuple[list[Dag], Place | None]:
        """Up to `size` DAGs that have all of the tags, and where it goes on; `None` at the end.

        Raises:
            AirflowUnavailable: Airflow does not tell.
            AirflowDenied: Airflow refuses the account.
        """
        self._breaker.check(Subject())
        found: list[Dag] = []
        start = 0 if place is None else await self._find(place, tags)
        offset, last = start, None
        async for dag in self._rows(tags, start, _REQUESTS):
            if len(found) == size:
                break
            if self._serves(dag.dag_id) and (dag.has_import_errors or not dag.is_stale):
                found.append(dag)
            offset, last = offset + 1, dag
        else:
            if offset - start < _REQUESTS * PAGE:
                return found, None
        return found, Place(offset, last.dag_id) if last else None

    async def _find(self, place: Place, tags: Sequence[str]) -> int:
        """The offset of what follows a place."""
        before = max(place.offset - 1, 0)
        async for dag in self._rows(tags, before, 1):
            if dag.dag_id == place.after:
                return before + 1
            break
        offset = smaller = 0
        async for dag in self._rows(tags, 0, place.offset // PAGE + 2):
            offset += 1
            if dag.dag_id == place.after:
                return offset
            smaller += dag.dag_id < place.after
        # It is gone itself. The database may sort otherwise than we do: better one twice.
        return min(smaller, offset)

    async def _rows(self, tags: Sequence[str], offset: int, requests: int) -> AsyncIterator[Dag]:
        for number in range(requests):
            page = await self._api.dags(offset=offset + number * PAGE, limit=PAGE, tags=tags)
            for dag in page.rows:
                yield dag
            if len(page.rows) < PAGE:
                return
