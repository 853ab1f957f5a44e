"""From a run that exists to its result, or to the error that says why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from grpc import StatusCode

from dag_inference.errors import (
    AirflowDenied,
    AirflowUnavailable,
    DagInferenceError,
    DagPaused,
    ResultSkipped,
    ResultTaskUnknown,
    RunCancelled,
    RunDeleted,
)
from dag_inference_server.airflow import (
    AirflowApi,
    DagRun,
    Event,
    NotFound,
    TaskInstance,
    until_answered,
)
from dag_inference_server.catalog.plan import Plan, ResultRule
from dag_inference_server.invocation.call import (
    Outcome,
    ResultFormat,
    ResultReference,
)
from dag_inference_server.invocation.event_log import done_to
from dag_inference_server.invocation.failure import explain, task_failed
from dag_inference_server.invocation.flight import Flight
from dag_inference_server.invocation.interventions import ended_by_hand
from dag_inference_server.invocation.reading import Reader
from dag_inference_server.invocation.report import FailureReports
from dag_inference_server.invocation.verdict import (
    Ended,
    Lost,
    Pending,
    Ready,
    Unlisted,
    decide,
    is_mapped,
)
from dag_inference_server.results.shape import Shaped, shape
from dag_inference_server.results.written import Value
from dag_inference_server.together import both
from dag_inference_server.watcher import Follower, Snapshot, Watcher

_ORDERED_SINCE = (3, 3, 2)
"""The Airflow whose `/wait` gives the values of a mapped task in the order of the map, by its
source; those before order them by time."""


class _Moved(Exception):
    """What was taken for the result is no longer there: the run goes on."""


@dataclass(slots=True)
class Wait:
    """One call's wait for its run."""

    api: AirflowApi
    watcher: Watcher
    follower: Follower
    reports: FailureReports
    reader: Reader
    flight: Flight
    plan: Plan
    listed: set[str] = field(default_factory=set)
    """The mapped result tasks of which every instance is known."""

    async def outcome(self) -> Outcome:
        """Wait until the result is there.

        Raises:
            DagInferenceError: It is not, and cannot come any more.
        """
        if not self.plan.task_ids:
            self.follower.wait_for_end()
        snapshot = self.follower.look()
        while True:
            self.flight.run = snapshot.run or self.flight.run
            self.flight.listener.changed(snapshot)
            if snapshot.missed:
                await self._read_run()
            if snapshot.stuck:
                raise DagPaused(
                    f"{self._run.dag_id} was paused before the run started, which stays queued"
                )
            try:
                outcome = await self._judge(snapshot)
            except _Moved:
                self.flight.results, outcome = (), None
            except NotFound:
                # Of the run, or of what was just seen in it.
                await self._read_run()
                outcome = None
            finally:
                # What was read meanwhile: a stream shows every final state before it ends.
                if self.flight.listener.every_state:
                    self.flight.listener.changed(self.follower.look())
            if outcome is not None:
                return outcome
            snapshot = await self.follower.news(snapshot)

    async def _judge(self, snapshot: Snapshot) -> Outcome | None:
        """The outcome, or `None` to wait for more news."""
        verdict = decide(self.plan, snapshot, self.listed)
        match verdict:
            case Pending():
                pass
            case Unlisted(task_id=task_id):
                return await self._list(task_id)
            case Ready():
                return await self._answer(verdict)
            case Lost():
                await self._fail()
            case Ended():
                return await self._answer_ended()
        return None

    async def _list(self, task_id: str) -> Outcome | None:
        """Learn of every instance of a mapped task: a delta shows only those that ended."""
        run = self._run
        instances = await until_answered(
            lambda: self.api.task_instances(run.dag_id, run.run_id, task_id=task_id)
        )
        self.follower.learn(instances=instances)
        self.listed.add(task_id)
        return await self._judge(self.follower.look())

    async def _answer(self, ready: Ready) -> Outcome:
        """Read the values, and make sure that they were the result.

        Raises:
            _Moved: They were not: a task that starts again first deletes its value, which
                then reads as null, and a mapped one may be expanded anew.
        """
        instances = self.flight.results = ready.instances
        self.flight.stopwatch.known()
        if ready.empty:
            await self._check_empty()
        if self.flight.wanted.result_format is ResultFormat.REFERENCE:
            return self._outcome(None, instances)
        read = await self._read(instances)
        values: dict[str, Value] = {task_id: [] for task_id in ready.empty}
        for task_id, of_task in _by_task(instances).items():
            found = [v for i, v in zip(instances, read, strict=True) if i.task_id == task_id]
            values[task_id] = found if is_mapped(self.plan, task_id, of_task) else found[0]
        await self._check_returned([i for i, v in zip(instances, read, strict=True) if v is None])
        return self._outcome(shape(self.plan.task_ids, values), instances)

    async def _read(self, instances: tuple[TaskInstance, ...]) -> list[Value]:
        """What they returned, made sure of.

        Raises:
            _Moved: It may not be the result.
        """
        if len(instances) == 1:
            # Most calls wait for both, and one answer need not wait for the other: a value that
            # is there was not deleted, so its task had not started again when it was read.
            read, _ = await both(
                self.reader.of_instances(self._run, instances, by_run=()),
                self._check_unmoved(instances),
            )
            if read[0] is not None:
                return read
        else:
            by_run = await self._readable_by_run(instances)
            read = await self.reader.of_instances(self._run, instances, by_run=by_run)
        for of_task in _by_task(instances).values():
            await self._check_unmoved(of_task)
        return read

    async def _readable_by_run(self, instances: Sequence[TaskInstance]) -> set[str]:
        """The tasks whose values Airflow gives in one answer, of these instances and no others."""
        is_ordered = partial(self.api.is_at_least, *_ORDERED_SINCE)
        if len(instances) < 2 or not self._run.is_final or not await until_answered(is_ordered):
            return set()
        snapshot, task_ids = self.follower.look(), {instance.task_id for instance in instances}
        counts = Counter(instance.task_id for instance in instances)
        return {t for t in task_ids if len(snapshot.of_task(t)) == counts[t]}

    async def _check_empty(self) -> None:
        """Make sure that a map has no elements because nothing was mapped.

        Raises:
            _Moved: The run has failed meanwhile: its own timeout skips tasks in the same way.
        """
        await self._read_run()
        if self._run.state == "failed":
            raise _Moved

    async def _check_returned(self, without_value: list[TaskInstance]) -> None:
        """Make sure that what has no value returned `None`: who is marked `success` has none, too.

        Raises:
            RunCancelled: Somebody ended one of them, or the run, before it had returned.
        """
        events = await self._events() if without_value else None
        for instance in without_value:
            if ended_by_hand(events or (), instance):
                raise RunCancelled(
                    f"somebody marked {instance.task_id}, or its run, before it had returned"
                )

    async def _check_unmoved(self, instances: Sequence[TaskInstance]) -> None:
        """Raise `_Moved` unless a task's instances still are what they were."""
        one = instances[0]
        where = (one.dag_id, one.run_id)
        if one.map_index < 0:
            now = [await until_answered(lambda: self.api.task_instance(*where, one.task_id, -1))]
        else:
            now = await until_answered(lambda: self.api.task_instances(*where, task_id=one.task_id))
        succeeded = {(i.map_index, i.id) for i in now if i.state == "success"}
        unmoved = succeeded == {(i.map_index, i.id) for i in instances}
        if unmoved and all(instance.is_final for instance in now):
            return
        for instance in instances:
            self.follower.forget(instance)
        self.follower.learn(instances=now)
        raise _Moved

    async def _answer_ended(self) -> Outcome | None:
        """Answer a run that has ended, by what it then says of itself."""
        # What the delta has shown was done by then: the log can be read beside the run.
        is_smooth = self._run.state == "success" and _all_succeeded(self.follower.look())
        instances, events = await both(
            self._read_run(), _nothing() if is_smooth else self._events()
        )
        if not self._run.is_final:
            return None
        verdict = decide(self.plan, self.follower.look(), (*self.listed, *self.plan.task_ids))
        if isinstance(verdict, Ready):
            return await self._answer(verdict)
        if is_smooth and not _all_succeeded(self.follower.look()):
            events = await self._events()
        error = explain(self.plan, self._run, instances, events)
        if error is not None:
            raise await self._reported(error)
        if self.plan.task_ids:
            raise RunCancelled("the run was ended before its result tasks had run")
        self.flight.stopwatch.known()
        if self.plan.rule is ResultRule.NONE:
            return self._outcome(shape((), {}), ())
        return await self._answer_by_run(instances)

    async def _answer_by_run(self, instances: list[TaskInstance]) -> Outcome:
        """The results that a run names itself, where nothing was known before.

        They are a lower bound: that there are none does not mean that there should be none.
        """
        named = await self.reader.results_of(self._run)
        if not named:
            self._check_may_be_empty(instances)
            return self._outcome(shape((), {}), ())
        plan = replace(self.plan, task_ids=named)
        verdict = decide(plan, self.follower.look(), named)
        if not isinstance(verdict, Ready):
            # What they returned is left of a run before this one was cleared.
            raise ResultSkipped(f"the run's result, {' and '.join(named)}, was skipped")
        self.plan = plan
        return await self._answer(verdict)

    def _check_may_be_empty(self, instances: list[TaskInstance]) -> None:
        subject = self.flight.subject
        if self.plan.is_outdated:
            raise ResultTaskUnknown(
                f"the run was made with version {self._run.version} of the DAG, whose result task "
                "is no longer known: name it in result_task_ids",
                subject=subject,
                code=StatusCode.FAILED_PRECONDITION,
            )
        if any(i.state == "skipped" and not self.plan.is_teardown(i.task_id) for i in instances):
            raise ResultSkipped(
                "the run has no result and skipped tasks, and which task gives the result is not "
                "known: name it, for example by a tag result:<task_id> of the DAG",
                subject=subject,
            )

    async def _fail(self) -> None:
        """Raise the error of a lost result, unless it turns out not to be lost."""
        instances, events = await both(self._read_run(), self._events())
        lost = decide(self.plan, self.follower.look(), self.listed)
        if isinstance(lost, Lost) and lost.instance.task_id not in self.plan.task_ids:
            await self._check_structure()
            lost = decide(self.plan, self.follower.look(), self.listed)
        if not isinstance(lost, Lost):
            return
        instance = lost.instance
        if instance.state == "skipped" and instance.end_date is None:
            # As `dagrun_timeout` leaves it, and the run may have been read just before.
            instances = await self._read_run()
        if events is None and self._is_being_ended(instance, instances):
            return
        error = explain(self.plan, self._run, instances, events)
        raise await self._reported(error or task_failed(self._run, instance))

    async def _reported(self, error: DagInferenceError) -> DagInferenceError:
        """The error with all that there is to tell of the task that it names."""
        instance = self.flight.named_by(error)
        return await self.reports.complete(error, instance, time_left=self.flight.time_left)

    async def _events(self) -> list[Event] | None:
        """What was done to the run from outside since it was made, if that can be read."""
        try:
            return await done_to(self._run, self.api)
        except (AirflowDenied, AirflowUnavailable):
            # The failure is told, though less exactly.
            return None

    async def _check_structure(self) -> None:
        """Make sure that the run goes by the structure that we hold.

        An edited DAG may have other paths, and a run under way can change over to it. The
        result tasks' own states decide then.
        """
        dag_id, version = self._run.dag_id, self._run.version
        newest = (await until_answered(lambda: self.api.dag(dag_id))).version
        if {version, newest} != {self.plan.version}:
            self.plan = self.plan.without_structure(version)

    def _is_being_ended(self, lost: TaskInstance, instances: list[TaskInstance]) -> bool:
        """Whether the result was skipped while something failed: `fail_fast`, most likely.

        The run's end, which is near then, says which of the two it was.
        """
        failed = any(
            i.state == "failed" and not self.plan.is_teardown(i.task_id) for i in instances
        )
        return lost.state == "skipped" and failed and not self._run.is_final

    async def _read_run(self) -> list[TaskInstance]:
        """Read the run by id, and its task instances with it."""
        run = self._run
        try:
            self.flight.run = await until_answered(
                lambda: self.watcher.refresh(self.follower, run.dag_id, run.run_id)
            )
        except NotFound:
            raise RunDeleted("the run was deleted while the call waited for it") from None
        return list(self.follower.look().instances.values())

    def _outcome(self, result: Shaped | None, instances: tuple[TaskInstance, ...]) -> Outcome:
        run = self._run
        if run.state == "queued" and instances:
            # A task has run, so the run has started; the news of it is not asked for.
            run = run.model_copy(update={"state": "running"})
        references = tuple(ResultReference(i.task_id, i.map_index) for i in instances)
        known = self.follower.look().instances.values()
        timing = self.flight.stopwatch.timing(run, instances, known)
        return Outcome(run, result, references, timing, self.reader.bytes_read)

    @property
    def _run(self) -> DagRun:
        assert self.flight.run is not None
        return self.flight.run


def _by_task(instances: Sequence[TaskInstance]) -> dict[str, list[TaskInstance]]:
    by_task: dict[str, list[TaskInstance]] = {}
    for instance in instances:
        by_task.setdefault(instance.task_id, []).append(instance)
    return by_task


def _all_succeeded(snapshot: Snapshot) -> bool:
    return all(instance.state == "success" for instance in snapshot.instances.values())


async def _nothing() -> list[Event] | None:
    return []
