"""What tasks returned, read within a budget."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_client.client import ExperimentalApi, XComApi

from dag_inference.errors import AirflowUnavailable
from dag_inference_server.airflow.answer import RETRY_AFTER
from dag_inference_server.airflow.bodies import at_most
from dag_inference_server.airflow.requests import Operation
from dag_inference_server.airflow.statuses import NotFound, granted
from dag_inference_server.airflow.transport import Transport
from dag_inference_server.results.plain import read_plain

RESULT_KEY = "return_value"
"""The XCom key of what a task returns."""

_NEVER = 86400
"""Seconds between two looks of `/wait`."""

_QUICK = 128 * 1024
"""Bytes that are decoded within a millisecond or two. Of more, other calls go on between two
envelopes; a plain list is decoded in one go, 25 ms a megabyte, wherever that happens."""

_NO_SUCH = "dag_inference_check_no_such_dag"


@dataclass(slots=True)
class Budget:
    """How many bytes of values one call may read."""

    limit: int
    spent: int = 0

    @property
    def left(self) -> int:
        """How many more."""
        return max(self.limit - self.spent, 0)


class Values:
    """Reads XComs.

    Every method raises `AirflowUnavailable` and `AirflowDenied` as `AirflowApi` does, and
    `TooLong` as soon as it is known that one answer has more bytes than the budget had left when
    it was asked for.
    """

    def __init__(self, transport: Transport) -> None:
        """Use `transport` for every request."""
        self._transport = transport
        self._xcoms = XComApi(transport.client)
        self._waits = ExperimentalApi(transport.client)

    async def prove_readable(self) -> None:
        """Ask for what only an account that may read XComs is refused as "not found".

        Raises:
            AirflowDenied: The account may not.
        """
        with suppress(NotFound):
            await self.of_instance(_NO_SUCH, _NO_SUCH, _NO_SUCH, -1, Budget(_QUICK))

    async def of_instance(
        self, dag_id: str, run_id: str, task_id: str, map_index: int, budget: Budget
    ) -> Any:
        """What a task instance returned, as `read_plain` gives it.

        Raises:
            NotFound: It returned `None`, or has not returned yet.
            RecursionError: It is nested about a thousand levels deep.
        """
        operation = partial(
            self._xcoms.get_xcom_entry_without_preload_content,
            dag_id,
            task_id,
            run_id,
            RESULT_KEY,
            map_index=map_index,
            stringify=False,
        )
        entry = await _decoded(await self._read(operation, budget))
        if not isinstance(entry, dict) or "value" not in entry:
            raise AirflowUnavailable("Airflow's answer is no XCom", retry_after=RETRY_AFTER)
        return entry["value"]

    async def of_run(
        self, dag_id: str, run_id: str, budget: Budget, task_ids: Collection[str] = ()
    ) -> dict[str, Any]:
        """What a run that has ended says of its results, by task.

        The value of a task, or the list of the values of a mapped one in the order of the map.

        A lower bound: a result task that failed, was skipped or returned `None` is missing, as
        is an instance that returned `None`, and everything the account may not read.

        Args:
            dag_id: The DAG.
            run_id: The run.
            budget: What may be read.
            task_ids: The tasks; none for those that the DAG declares to be its result.

        Raises:
            NotFound: No such run.
            RecursionError: A value is nested about a thousand levels deep.
        """
        operation = partial(
            self._waits.wait_dag_run_until_finished_without_preload_content,
            dag_id,
            run_id,
            # Should it be running again, the request times out before the next look.
            _NEVER,
            list(task_ids) or None,
        )
        lines = (await self._read(operation, budget)).strip().splitlines()
        last = await _decoded(lines[-1]) if lines else None
        if not isinstance(last, dict) or "state" not in last:
            raise AirflowUnavailable("Airflow's wait ended without a word", retry_after=RETRY_AFTER)
        results: dict[str, Any] = last.get("results", {})
        return results

    async def _read(self, operation: Operation, budget: Budget) -> bytes:
        answer = await self._transport.send(operation, granted, body=at_most(budget.left))
        budget.spent += len(answer.body)
        return answer.body


async def _decoded(body: bytes) -> Any:
    try:
        if len(body) <= _QUICK:
            return read_plain(body)
        return await asyncio.to_thread(read_plain, body)
    except ValueError as error:
        raise AirflowUnavailable("Airflow's answer is no JSON", retry_after=RETRY_AFTER) from error
