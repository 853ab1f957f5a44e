"""A gateway before a fake Airflow, as a process: what clients of other makers are tested with.

Their environments have none of the gateway's packages, so that it runs beside them. It says on
which port it serves, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys

from dag_inference_server.logs import configure
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults, steps
from integration.gateway import running, settings_for
from integration.inference import echo, returning, well

_SCORES = {"scores": [[0.25, 0.75], [0.5, 0.5]], "label": "setosa", "model": {"name": "tree"}}


def dags() -> list[Dag]:
    """What there is to call."""
    limit = {"value": 1, "schema": {"type": "integer", "maximum": 10}}
    image = {"value": "", "schema": {"type": "string", "contentEncoding": "base64"}}
    tags = ["output:scores:FP32:-1,2", "output:label:BYTES", "output:model:BYTES"]
    return [
        echo(),
        echo("strict", params={"limit": limit, "image": image}),
        returning(_SCORES, "classify", tags=tags),
        returning([[1, 2], [3]], "ragged"),
        returning([[1, 2], [3, 4]], "grid"),
        returning(None, "nothing"),
        Dag(
            "two",
            Task("left"),
            Task("right"),
            tags=["result:left", "result:right"],
            script=[steps.finish("left", [1, 2]), steps.finish("right", "text")],
        ),
        Dag("failing", script=[steps.fail("predict", raises=ValueError("too bad"))]),
        Dag("slow"),
        Dag("paused", is_paused=True),
        Dag("broken", has_import_errors=True),
        Dag("scheduled", allowed_run_types=["scheduled"]),
        Dag("skipped", script=[steps.state("predict", "skipped"), steps.end()]),
        Dag("cancelled", script=[steps.cancel()]),
        Dag("lost", tags=["result:nowhere"]),
        returning([0.5] * 600_000, "large"),
    ]


async def serve() -> None:
    """Serve until nobody listens any more."""
    configure("warning")
    airflow = FakeAirflow(*dags())
    airflow.faults.add(faults.database_error(), Kind.DAG, dag_id="ill")
    airflow.faults.add(faults.refused(403, "Forbidden"), Kind.DAG, dag_id="forbidden")
    await airflow.start()
    async with running(settings_for(airflow, dags="[!h]*", max_calls_per_dag=20)) as gateway:
        await well(gateway)
        print(gateway.serving.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await airflow.stop()


if __name__ == "__main__":
    asyncio.run(serve())
