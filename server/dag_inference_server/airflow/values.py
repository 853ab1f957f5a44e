"""What tasks returned, read within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from airflow_client.client import ExperimentalApi, XComApi

from dag_inference.errors import AirflowUnavailable
from dag_inference_server.airflow.answer import RETRY_AFTER, Answer
from dag_inference_server.airflow.bodies import at_most
from dag_inference_server.airflow.requests import Operation
from dag_inference_server.airflow.statuses import NotFound, granted
from dag_inference_server.airflow.transport import Transport
from dag_inference_server.apart import Apart
from dag_inference_server.results.written import QUICK, Value
from dag_inference_server.results.xcoms import NoXComs, names_of, results_of, value_of

T = TypeVar("T")

RESULT_KEY = "return_value"
"""The XCom key of what a task returns."""

_NEVER = 86400
"""Seconds between two looks of `/wait`."""

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
    """Reads XComs: what is large as text, in a process of its own.

    Every method raises `AirflowUnavailable` and `AirflowDenied` as `AirflowApi` does, and
    `TooLong` as soon as it is known that one answer has more bytes than the budget had left when
    it was asked for.
    """

    def __init__(self, transport: Transport, apart: Apart) -> None:
        """Use `transport` for every request, and read what is large `apart`."""
        self._transport = transport
        self._apart = apart
        self._xcoms = XComApi(transport.client)
        self._waits = ExperimentalApi(transport.client)

    async def prove_readable(self) -> None:
        """Ask for what only an account that may read XComs is refused as "not found".

        Raises:
            AirflowDenied: The account may not.
        """
        with suppress(NotFound):
            await self.of_instance(_NO_SUCH, _NO_SUCH, _NO_SUCH, -1, Budget(QUICK))

    async def of_instance(
        self, dag_id: str, run_id: str, task_id: str, map_index: int, budget: Budget
    ) -> Value:
        """What a task instance returned, as `read_plain` gives it, or the text of that.

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
        of = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
        return await self._taken(value_of, await self._read(operation, budget), of)

    async def of_run(
        self, dag_id: str, run_id: str, budget: Budget, tasks: Mapping[str, bool]
    ) -> Mapping[str, Value]:
        """What a run that has ended says of the values of tasks.

        The value of a task, or the list of the values of a mapped one in the order of the map.

        A lower bound: a task that failed, was skipped or returned `None` is missing, as is an
        instance that returned `None`, and everything the account may not read.

        Args:
            dag_id: The DAG.
            run_id: The run.
            budget: What may be read.
            tasks: The tasks, and whether each is mapped.

        Raises:
            NotFound: No such run.
            RecursionError: A value is nested about a thousand levels deep.
        """
        said = await self._waited(dag_id, run_id, budget, [*tasks])
        mapped = {task_id for task_id, is_mapped in tasks.items() if is_mapped}
        return await self._taken(results_of, said, mapped)

    async def results_of_run(self, dag_id: str, run_id: str, budget: Budget) -> tuple[str, ...]:
        """The tasks that a run that has ended, or its DAG, calls its results: as `of_run` says."""
        return await self._taken(names_of, await self._waited(dag_id, run_id, budget, None))

    async def _waited(
        self, dag_id: str, run_id: str, budget: Budget, task_ids: list[str] | None
    ) -> bytes:
        operation = partial(
            self._waits.wait_dag_run_until_finished_without_preload_content,
            dag_id,
            run_id,
            # Should it be running again, the request times out before the next look.
            _NEVER,
            task_ids,
        )
        # A line for each look, and the last one has the values.
        return (await self._read(operation, budget)).strip().rpartition(b"\n")[2]

    async def _read(self, operation: Operation, budget: Budget) -> bytes:
        body = await self._transport.send(operation, _document, body=at_most(budget.left))
        budget.spent += len(body)
        return body

    async def _taken(self, take: Callable[..., T], body: bytes, *args: object) -> T:
        """What `take` takes of a document: here if that is quick, else as text and apart."""
        try:
            if len(body) <= QUICK:
                return take(body, *args, as_text=False)
            return await self._apart.run(len(body), take, body, *args, as_text=True)
        except NoXComs as error:
            raise AirflowUnavailable(
                "Airflow's answer has no XComs", retry_after=RETRY_AFTER
            ) from error


def _document(answer: Answer) -> bytes:
    """The body, which is an object, or one on each line, as far as can be seen at once."""
    body = granted(answer).body
    if not body[:64].lstrip().startswith(b"{"):
        raise AirflowUnavailable("Airflow's answer has no XComs", retry_after=RETRY_AFTER)
    return body
