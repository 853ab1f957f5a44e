"""The tests' fake Airflow for the soak: it forgets old runs, grows no more, and stumbles."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.fake.airflow import FakeProcess, serve
from benchmarks.gateway import Address
from benchmarks.processes import first_line, module, running
from fakes.airflow import Dag, FakeAirflow, Run, Step, Task, faults, steps

TASK = "answer"
"""The result task of all of them."""

SUCCEEDS, FAILS, LATE, STAYS = "succeeds", "fails", "late", "stays"
"""What the runs of each DAG do: two end at once, one half a second later, one not by itself."""

LARGE, FULL = "large", "full"
"""One whose value is read in another process, and one with more calls than there may be."""

VALUE = {"label": "setosa", "probability": 0.97}

_MUCH = [0.123456] * 10_000
"""Some 100 KB."""

_KEPT = 2000
"""Runs of each DAG."""

_LATE = 0.5
"""Seconds."""

_WELL, _ILL = 10, 0.5
"""Seconds, by turns, for which Airflow answers, and for which it has nothing but 503."""


@contextmanager
def fake_airflow() -> Iterator[FakeProcess]:
    """Run it inside the block."""
    with running(module(__name__)) as process:
        yield FakeProcess(Address(**json.loads(first_line(process))), process.pid)


def _succeed(run: Run) -> None:
    # A caller may have had it ended meanwhile.
    if not run.is_final:
        run.finish(TASK, VALUE)
        run.end("success")


async def _stumble(fake: FakeAirflow) -> None:
    while True:
        await asyncio.sleep(_WELL)
        fake.faults.add(faults.refused(503))
        await asyncio.sleep(_ILL)
        fake.faults.clear()


def _succeed_later(run: Run) -> None:
    asyncio.get_running_loop().call_later(_LATE, _succeed, run)


async def _serve() -> None:
    failing = [steps.fail(TASK, raises=ValueError("no luck")), steps.end("failed")]
    scripts: dict[str, Sequence[Step]] = {
        SUCCEEDS: [_succeed],
        FAILS: failing,
        LATE: [_succeed_later],
        STAYS: [],
        LARGE: [steps.finish(TASK, _MUCH), steps.end()],
        FULL: [],
    }
    dags = [Dag(name, Task(TASK), script=script, keeps=_KEPT) for name, script in scripts.items()]
    fake = FakeAirflow(*dags)
    stumbling = asyncio.create_task(_stumble(fake))
    await serve(fake)
    stumbling.cancel()


if __name__ == "__main__":
    asyncio.run(_serve())
