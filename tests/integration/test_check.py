"""What the command says of settings that lead nowhere, before and while it looks at Airflow."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dag_inference_server.check import check_airflow
from fakes.airflow import Dag, FakeAirflow, Kind, Task, faults
from gateway_process import environment_for
from integration.gateway import settings_for


async def _warnings(airflow: FakeAirflow, **settings: object) -> list[str]:
    findings = [finding async for finding in check_airflow(settings_for(airflow, **settings))]
    return [found.removeprefix("warning: ") for found in findings if found.startswith("warning: ")]


async def test_dags_that_airflow_does_not_have(airflow: FakeAirflow) -> None:
    """Are warned of, by the pattern that fits none: they may come later."""
    airflow.add(Dag("here"))
    airflow.add(Dag("broken", is_stale=True, has_import_errors=True))
    airflow.add(Dag("gone", is_stale=True))

    assert await _warnings(airflow, dags="her?,broken,gone,nope*") == [
        "DAGS names gone, and Airflow shows the account no such DAG.",
        "DAGS names nope*, and Airflow shows the account no such DAG.",
    ]


async def test_tasks_that_airflow_does_not_have(airflow: FakeAirflow) -> None:
    """Likewise, and their DAGs, in each setting that names them."""
    airflow.add(Dag("dag", Task("predict"), Task("check")))
    airflow.add(Dag("hidden"))
    airflow.faults.add(faults.refused(403, "Forbidden"), Kind.TASKS, dag_id="hidden")

    assert await _warnings(
        airflow,
        result_tasks={"dag": ("predict", "predcit"), "nowhere": ("predict",)},
        task_codes={
            "dag": {"check": "NOT_FOUND", "look": "NOT_FOUND"},
            "hidden": {"predict": "NOT_FOUND"},
        },
    ) == [
        "RESULT_TASKS names predcit, and dag has no such task.",
        "RESULT_TASKS names nowhere, and Airflow shows the account no such DAG.",
        "TASK_CODES names look, and dag has no such task.",
        "TASK_CODES names hidden, and Airflow shows the account no such DAG.",
    ]


async def test_what_is_warned_of_is_no_failure(airflow: FakeAirflow) -> None:
    """`check` tells of it, and of variables that are no settings, and ends with 0."""
    code, said, errors = await _run(airflow, "check", DAGS="nope*", MAX_CALL="1")

    assert code == 0
    assert said.endswith("warning: DAGS names nope*, and Airflow shows the account no such DAG.\n")
    assert errors == "warning: DAG_INFERENCE_MAX_CALL is no setting of the gateway\n"


async def test_a_file_with_a_name_that_is_no_setting(airflow: FakeAirflow, tmp_path: Path) -> None:
    """The name and the file are told."""
    config = tmp_path / "gateway.toml"
    config.write_text("max_cals = 1")

    code, _, errors = await _run(airflow, "serve", f"--config={config}")

    assert (code, errors) == (
        2,
        f"MAX_CALS: is no setting of the gateway, but stands in {config}\n",
    )


async def _run(airflow: FakeAirflow, *command: str, **settings: str) -> tuple[int, str, str]:
    """Run a command to its end: exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("dag-inference-server"),
        *command,
        env=environment_for(airflow, **settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(), errors.decode()
