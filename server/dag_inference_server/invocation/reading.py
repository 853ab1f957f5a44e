"""What task instances returned, within the limits of one call."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from dag_inference.errors import (
    AirflowDenied,
    ResultTooDeep,
    ResultTooLarge,
    ResultTooManyMapIndexes,
)
from dag_inference_server.airflow import (
    Budget,
    DagRun,
    NotFound,
    TaskInstance,
    TooLong,
    Values,
    until_answered,
)
from dag_inference_server.results.written import QUICK, Value, written
from dag_inference_server.together import together

T = TypeVar("T")

_AT_ONCE = 4
"""A call with a thousand map indexes must not go before all others' results."""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How much of a result is read."""

    max_bytes: int
    """Of all its values together, as Airflow hands them over in JSON."""
    max_map_indexes: int
    """Of one task."""


class Reader:
    """Reads the values of one call.

    Its methods raise `ResultTooLarge`, `ResultTooDeep` and `ResultTooManyMapIndexes`.
    """

    def __init__(self, values: Values, limits: ReadLimits) -> None:
        """Begin with all that the limits allow."""
        self._values = values
        self._limits = limits
        self._budget = Budget(limits.max_bytes)

    @property
    def bytes_read(self) -> int:
        """How much JSON the values were, as last read."""
        return self._budget.spent

    async def of_instances(
        self, run: DagRun, instances: Sequence[TaskInstance], *, by_run: Collection[str]
    ) -> list[Value]:
        """What each instance returned; `None` also for one that has no value.

        If they are large together, all of them as text.

        Args:
            run: The run.
            instances: Its instances.
            by_run: The tasks of which the run can be asked for all at once: it has ended, Airflow
                gives their values in the order of the map, and they have no other instances.

        Raises:
            NotFound: There is no such run any more.
        """
        for task_id, count in Counter(instance.task_id for instance in instances).items():
            if count > self._limits.max_map_indexes:
                raise ResultTooManyMapIndexes(
                    f"{task_id} has {count} map indexes, more than {self._limits.max_map_indexes}; "
                    "ask for references"
                )
        self._budget = Budget(self._limits.max_bytes)
        of_runs = [instance for instance in instances if instance.task_id in by_run]
        known = await self._of_finished(run, of_runs) if len(of_runs) > _AT_ONCE else {}
        rest = [instance for instance in instances if instance.key not in known]
        for start in range(0, len(rest), _AT_ONCE):
            some = rest[start : start + _AT_ONCE]
            of_some = await together(self._of_instance(instance) for instance in some)
            known.update(zip((i.key for i in some), of_some, strict=True))
        found = [known[instance.key] for instance in instances]
        if self.bytes_read <= QUICK:
            return found
        with _too_deep("the result"):
            # Each is done quickly, but all at once would hold up others.
            return await asyncio.to_thread(lambda: [written(value) for value in found])

    async def results_of(self, run: DagRun) -> tuple[str, ...]:
        """The tasks that a run that has ended calls its results: a lower bound.

        What it says of their values is not theirs for certain: they may be those of a run before
        it was cleared, and instances that returned `None` are left out.

        Raises:
            NotFound: There is no such run any more.
        """
        budget = Budget(self._limits.max_bytes)
        names = await self._read(
            lambda: self._values.results_of_run(run.dag_id, run.run_id, budget), "the run"
        )
        return tuple(sorted(names))

    async def _of_finished(
        self, run: DagRun, instances: Sequence[TaskInstance]
    ) -> dict[tuple[str, int], Value]:
        """The values that one request gives where it would otherwise be many."""
        by_task: dict[str, list[TaskInstance]] = {}
        for instance in instances:
            by_task.setdefault(instance.task_id, []).append(instance)
        tasks = {t: any(i.map_index >= 0 for i in of_task) for t, of_task in by_task.items()}
        try:
            values = await self._read(
                lambda: self._values.of_run(run.dag_id, run.run_id, self._budget, tasks),
                "the run",
            )
        except AirflowDenied:
            return {}
        known: dict[tuple[str, int], Value] = {}
        for task_id, value in values.items():
            of_task = by_task.get(task_id, [])
            if not tasks.get(task_id):
                known.update((instance.key, value) for instance in of_task)
            # One that returned `None` is left out of the list, and nobody knows which.
            elif isinstance(value, list) and len(value) == len(of_task):
                known.update(zip((i.key for i in of_task), value, strict=True))
        return known

    async def _of_instance(self, instance: TaskInstance) -> Value:
        where = (instance.dag_id, instance.run_id, instance.task_id, instance.map_index)
        try:
            return await self._read(
                lambda: self._values.of_instance(*where, self._budget), instance.task_id
            )
        except NotFound:
            return None

    async def _read(self, read: Callable[[], Awaitable[T]], what: str) -> T:
        try:
            with _too_deep(f"what {what} returned"):
                return await until_answered(read)
        except TooLong as error:
            size = self._budget.spent + error.size
            raise ResultTooLarge(
                f"{what} returned {size} bytes of JSON or more, and {self._limits.max_bytes} are "
                "read; ask for a reference"
            ) from None


@contextmanager
def _too_deep(what: str) -> Iterator[None]:
    """Say so, if what is done inside the block finds that it is."""
    try:
        yield
    except RecursionError:
        raise ResultTooDeep(
            f"{what} is nested a thousand levels deep; ask for a reference"
        ) from None
