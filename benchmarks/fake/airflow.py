"""The tests' fake Airflow in a process of its own, so that it has a core of its own.

Its runs of one DAG end as soon as their trigger is answered, those of others later or never.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from benchmarks.gateway import Address
from benchmarks.processes import first_line, module, running
from fakes.airflow import Dag, FakeAirflow, Run, Task, steps

ANSWERED = "answered"
"""A DAG whose runs end at once, well."""

LASTING = "lasting"
"""A DAG whose runs take a second."""

PARKED = "parked"
"""A DAG whose runs do not end."""

LARGE = "large"
"""A DAG that returns as many numbers as the conf says at `NUMBERS`."""

NUMBERS = "numbers"

TASK = "answer"
"""The result task of all."""

VALUE = {"label": "setosa", "probability": 0.97, "scores": [0.97, 0.02, 0.01]}


@dataclass(frozen=True, slots=True)
class FakeProcess:
    """A fake Airflow that answers."""

    address: Address
    pid: int


@contextmanager
def fake_airflow() -> Iterator[FakeProcess]:
    """Run a fake Airflow inside the block."""
    with running(module(__name__)) as process:
        address = Address(**json.loads(first_line(process)))
        yield FakeProcess(address, process.pid)


def address_of(fake: FakeAirflow) -> Address:
    """Where a fake answers, and for whom."""
    return Address(fake.url, fake.accounts.username, fake.accounts.password)


async def serve(fake: FakeAirflow) -> None:
    """Serve it, in a process of its own, until that is told to end."""
    await fake.start()
    print(json.dumps(asdict(address_of(fake))), flush=True)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    while not told.is_set():
        # Nobody asks this process what it was asked, and it was asked a lot.
        fake.asked.clear()
        await asyncio.sleep(1)
    await fake.stop()


async def _serve() -> None:
    answered = Dag(ANSWERED, Task(TASK), script=[steps.finish(TASK, VALUE), steps.end()])
    lasting = Dag(LASTING, Task(TASK), script=[steps.start(), _finish_in_a_second])
    large = Dag(LARGE, Task(TASK), script=[_return_numbers, steps.end()])
    await serve(FakeAirflow(answered, lasting, large, Dag(PARKED, Task(TASK))))


def _finish_in_a_second(run: Run) -> None:
    def finish() -> None:
        run.finish(TASK, VALUE)
        run.end("success")

    asyncio.get_running_loop().call_later(1, finish)


def _return_numbers(run: Run) -> None:
    run.finish(TASK, [0.123456] * (run.conf or {})[NUMBERS])


if __name__ == "__main__":
    asyncio.run(_serve())
