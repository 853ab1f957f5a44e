"""An Airflow in which runs go every way that they can, and which keeps the truth of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias

from chaos.truth import Fact, Truth
from fakes.airflow import Dag, FakeAirflow, Kind, Run, Step, Task, faults
from fakes.airflow.state import Event
from integration.waiting import eventually

RESULT = "predict"
"""The result task of both DAGs."""

PLAIN, CHAIN = "plain", "chain"
"""A DAG of one task, and one whose result task has a task before and another behind it."""

_OFF = [timedelta(0)] * 3 + [timedelta(seconds=s) for s in (-8, -3, -1.5, 1.5, 3)]
"""How far the clocks of hosts are off. Behind is as good as a row that was committed late."""

_NULL = 0.1
"""The share of tasks that return `None`."""

_HEARD = 1
"""Requests until an answer has surely been taken in."""

BY_HAND = "by hand"
"""The note of a run that somebody has marked."""

Move: TypeAlias = tuple[int, Step]
"""Something that may happen to a run, and how often in comparison."""


class _Witnessed(Dag):
    """A DAG whose runs end in the sight of the truth also when it is a gateway that ends them."""

    def __init__(self, truth: Truth, dag_id: str, *tasks: Task, tags: Sequence[str] = ()) -> None:
        """Have the truth told."""
        super().__init__(dag_id, *tasks, tags=tags)
        self._truth = truth

    def log(self, run_id: str, event: Event) -> None:
        """A mark ends the run, which has no teardowns, and its note says whose it was."""
        super().log(run_id, event)
        if event.event == "patch_dag_run":
            self._truth.begins(run_id, Fact.ENDED, self.runs[run_id].note)


class ChaoticAirflow:
    """A fake Airflow, and the dice that move its runs."""

    def __init__(self, fake: FakeAirflow, truth: Truth, dice: random.Random) -> None:
        """Have two DAGs."""
        self.fake = fake
        self._truth = truth
        self._dice = dice
        self._values = 0
        self._is_away = False
        chain = (Task("prepare", [RESULT]), Task(RESULT, ["tidy"]), Task("tidy"))
        self._dags = [
            fake.add(_Witnessed(truth, PLAIN, Task(RESULT))),
            fake.add(_Witnessed(truth, CHAIN, *chain, tags=[f"result:{RESULT}"])),
        ]

    @property
    def runs(self) -> list[Run]:
        """Those that exist."""
        return [run for run in self.fake.made if run.dag.runs.get(run.run_id) is run]

    # Runs

    def move(self) -> str:
        """Let one thing happen to one run."""
        # The young ones have callers.
        runs = self.runs[-40:]
        if not runs:
            return "nothing"
        run = self._dice.choice(runs)
        run.off = self._dice.choice(_OFF)
        weights, moves = zip(*self._moves(run), strict=True)
        (move,) = self._dice.choices(moves, weights)
        move(run)
        name = getattr(move, "func", move).__name__.strip("_")
        instances = [instance.state for instance in run.instances.values()]
        off = f" by a clock {run.off.total_seconds():+} s off" if run.off else ""
        return f"{name} {run.run_id} {run.state} {instances}{off}"

    def bring_to_end(self, run: Run) -> None:
        """Let a run end by itself, whatever it has been through."""
        run.off = timedelta(0)
        while not run.is_final:
            self._progress(run)[0](run)

    def _moves(self, run: Run) -> Sequence[Move]:
        """What may happen to a run as it is."""
        if run.is_final:
            return [(6, _nothing), (1, self._clear), (1, self._delete)]
        states = ("failed", "success")
        by_hand: list[Move] = [(1, partial(Run.mark, state=s, note=BY_HAND)) for s in states]
        if run.state == "queued":
            by_hand.append((1, self._delete))
        return [*((20, move) for move in self._progress(run)), *by_hand]

    def _progress(self, run: Run) -> Sequence[Step]:
        """What happens to a run by itself, the quickest way to its end first."""
        if run.state == "queued":
            return [Run.start]
        for instance in run.instances.values():
            begin = partial(Run.begin, task_id=instance.task_id)
            match instance.state:
                case "running":
                    fail = partial(self._fail, task_id=instance.task_id)
                    finish = partial(self._finish, task_id=instance.task_id)
                    return [finish, finish, finish, fail, self._retry]
                case None | "up_for_retry":
                    return [begin]
                case "failed" | "upstream_failed":
                    return [partial(self._end, state="failed")]
        return [partial(self._end, state="success")]

    def _end(self, run: Run, state: str) -> None:
        run.end(state)
        self._truth.begins(run.run_id, Fact.ENDED)

    def _finish(self, run: Run, task_id: str) -> None:
        value: Any = None
        if task_id == RESULT and self._dice.random() > _NULL:
            self._values += 1
            # No two are alike: a value tells which try of which run it is from.
            value = {"value": self._values}
        run.finish(task_id, value)
        if task_id == RESULT:
            self._truth.begins(run.run_id, Fact.SUCCEEDED, value)

    def _fail(self, run: Run, task_id: str) -> None:
        run.fail(task_id, raises=ValueError("no luck"))
        if task_id == "prepare":
            run.set_state(RESULT, "upstream_failed")
        if task_id != "tidy":
            self._truth.begins(run.run_id, Fact.FAILED)

    def _retry(self, run: Run) -> None:
        running = next(i for i in run.instances.values() if i.state == "running")
        run.retry(running.task_id)

    def meddle(self) -> None:
        """Let the last result be cleared and run anew just before the next value is read."""
        self.fake.faults.add(faults.just_before(self._start_last_again), Kind.VALUE, times=1)

    def _start_last_again(self) -> None:
        written = (run for dag in self._dags for run in [*dag.written][-3:])
        done = [run for run in written if run.instance(RESULT).state == "success"]
        if done:
            run = max(done, key=lambda run: run.written_at)
            self._clear(run)
            run.begin(RESULT)

    def _clear(self, run: Run) -> None:
        for instance in run.instances.values():
            run.clear(instance.task_id)
        self._truth.ends(run.run_id, Fact.SUCCEEDED, Fact.FAILED, Fact.ENDED)

    def _delete(self, run: Run) -> None:
        run.delete()
        self._truth.ends(run.run_id, Fact.SUCCEEDED, Fact.FAILED, Fact.ENDED)
        self._truth.begins(run.run_id, Fact.DELETED)

    # Airflow as a whole

    def trouble(self, share: float) -> None:
        """Let a share of all requests go wrong."""
        self._truth.begins("", Fact.TROUBLE)
        self.fake.faults.add(faults.Storm(share, seed=self._dice.getrandbits(32)))

    async def away(self) -> None:
        """Refuse connections, and break those that there are."""
        self._truth.begins("", Fact.TROUBLE)
        self._is_away = True
        await self.fake.stop()

    async def calm(self) -> None:
        """End all trouble; it is over when the gateway has heard Airflow again."""
        self.fake.faults.clear()
        if self._is_away:
            await self.fake.start()
        self._is_away = False
        heard = self.fake.count()
        await eventually(lambda: self.fake.count() > heard + _HEARD, timeout=60)
        self._truth.ends("", Fact.TROUBLE)


def was_marked(run: Run) -> bool:
    """Whether somebody ended it, or one of its id before, by hand; a gateway among them."""
    return any(event.event == "patch_dag_run" for event in run.dag.events.get(run.run_id, ()))


def _nothing(_: Run) -> None:
    pass
