"""A real API server that is killed under calls, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from http.client import HTTPException

import psutil

from dag_inference import AsyncDagInferenceClient
from dag_inference_server.standalone.processes import Component
from e2e.harness import serving_process
from e2e.ui import AirflowUi
from e2e.waiting import eventually

_AT_ONCE = 8
"""Calls on their way to their runs: the API server has few connections to its database."""

_PATIENCE = 600
"""Seconds: the deadline is long enough, whatever the machine."""


class ApiServer:
    """The process of an Airflow that answers its API."""

    def __init__(self, components: Sequence[Component]) -> None:
        """Find it among all that an Airflow is made of."""
        by_name = {component.name: component for component in components}
        self._component = by_name["api-server"]
        # All have the same, and this one does not write its title over it.
        self._environment = psutil.Process(by_name["dag-processor"].process.pid).environ()

    def kill(self) -> None:
        """End it and its workers as no program can help, `kill -9`."""
        os.killpg(self._component.process.pid, signal.SIGKILL)
        self._component.process.wait()

    def start(self) -> None:
        """Start it again, in the place of the one that was killed."""
        with self._component.log.open("ab") as log:
            self._component.process = subprocess.Popen(
                self._component.process.args,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


async def outage(
    server: ApiServer,
    ui: AirflowUi,
    settings: Mapping[str, str],
    dag_id: str,
    *,
    calls: int,
    seconds: float,
) -> None:
    """Kill the API server for so long under so many calls: each has its own run's result.

    The DAG's only task returns its conf, is in a pool of the DAG's name, and is tried again: one
    that starts while nobody answers it fails, which is Airflow's own affair.
    """
    prefix = f"outage-{calls}"
    own = {
        **settings,
        "DAG_INFERENCE_RUN_ID_PREFIX": prefix,
        "DAG_INFERENCE_MAX_DEADLINE": str(_PATIENCE),
    }
    ui.hold(dag_id)
    turn, made = asyncio.Semaphore(_AT_ONCE), set[str]()
    with serving_process(own) as (target, _):
        async with AsyncDagInferenceClient(target, reattach=False) as client:

            async def call(number: int) -> object:
                await turn.acquire()

                def exists(run_id: str) -> None:
                    made.add(run_id)
                    turn.release()

                result = await client.call(dag_id, {"n": number}, timeout=_PATIENCE, on_run=exists)
                return result.value

            answers = [asyncio.create_task(call(number)) for number in range(calls)]
            while len(made) < calls:
                await asyncio.wait(answers, timeout=0.1)
                assert not any(answer.done() for answer in answers)
            server.kill()
            # That much of an outage, and nothing to wait for in it.
            done, _ = await asyncio.wait(answers, timeout=seconds)
            assert not done
            server.start()
            await asyncio.to_thread(_release, ui, dag_id)
            assert await asyncio.gather(*answers) == [{"n": n} for n in range(calls)]
    found = [run["dag_run_id"] for run in ui.runs(dag_id)]
    ours = Counter(run_id for run_id in found if run_id.startswith(f"{prefix}-"))
    assert ours == Counter(made)
    assert ours.total() == calls


def _release(ui: AirflowUi, pool: str) -> None:
    """Open the pool, as soon as somebody answers."""
    eventually(lambda: _is_released(ui, pool), 300, every=0.5)


def _is_released(ui: AirflowUi, pool: str) -> bool:
    try:
        ui.release(pool)
    except (OSError, HTTPException):
        return False
    return True
