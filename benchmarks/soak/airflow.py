"""The tests' fake Airflow for the soak: it forgets old runs, and grows no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.fake.airflow import FakeProcess, serve
from benchmarks.gateway import Address
from benchmarks.processes import first_line, module, running
from fakes.airflow import Dag, FakeAirflow, Run, Step, Task, steps

TASK = "answer"
"""The result task of all of them."""

SUCCEEDS, FAILS, LATE, STAYS = "succeeds", "fails", "late", "stays"
"""What the runs of each DAG do: two end at once, one half a second later, one not by itself."""

VALUE = {"label": "setosa", "probability": 0.97}

_KEPT = 2000
"""Runs of each DAG."""

_LATE = 0.5
"""Seconds."""


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


def _succeed_later(run: Run) -> None:
    asyncio.get_running_loop().call_later(_LATE, _succeed, run)


async def _serve() -> None:
    failing = [steps.fail(TASK, raises=ValueError("no luck")), steps.end("failed")]
    scripts: dict[str, Sequence[Step]] = {
        SUCCEEDS: [_succeed],
        FAILS: failing,
        LATE: [_succeed_later],
        STAYS: [],
    }
    dags = [Dag(name, Task(TASK), script=script, keeps=_KEPT) for name, script in scripts.items()]
    await serve(FakeAirflow(*dags))


if __name__ == "__main__":
    asyncio.run(_serve())
