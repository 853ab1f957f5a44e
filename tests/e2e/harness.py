"""Starts and ends the product's own commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil

from e2e.ui import AirflowUi

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
TRITON = ROOT / ".venv-client-tritonclient" / "bin" / "python"
"""The Python of Triton's client, which `make test` installs."""

SHELL_ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("AIRFLOW", "DAG_INFERENCE", "PYTHON"))
} | {
    # Several serve at once.
    "DAG_INFERENCE_METRICS_LISTEN": "127.0.0.1:0"
}


Run = Callable[..., subprocess.CompletedProcess[str]]
"""Runs one of our commands to its end."""


@dataclass(frozen=True)
class Standalone:
    """A standalone that serves."""

    target: str
    airflow_url: str
    password: str
    viewer_password: str
    welcome: str
    state: Path
    dropped: Path
    """A DAG folder of it in which a test may drop files."""

    @cached_property
    def ui(self) -> AirflowUi:
        """What an administrator sees."""
        return AirflowUi(self.airflow_url, "admin", self.password)

    def account(self, user: str = "admin") -> dict[str, str]:
        """The settings of a gateway in front of the same Airflow."""
        password = self.password if user == "admin" else self.viewer_password
        return {
            **SHELL_ENVIRONMENT,
            "DAG_INFERENCE_AIRFLOW_URL": self.airflow_url,
            "DAG_INFERENCE_AIRFLOW_USERNAME": user,
            "DAG_INFERENCE_AIRFLOW_PASSWORD": password,
        }


@contextmanager
def started_standalone(
    state: Path, *arguments: str, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A standalone process, and what it said when it served."""
    log = state / "stderr.log"
    with (
        log.open("w") as errors,
        ended(
            subprocess.Popen(
                [
                    str(BIN / "dag-inference-server"),
                    "standalone",
                    f"--state={state}",
                    "--listen=127.0.0.1:0",
                    *arguments,
                ],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        ) as process,
    ):
        assert process.stdout is not None
        welcome = ""
        for line in process.stdout:
            welcome += line
            if "Ctrl-C" in line:
                break
        assert "gRPC" in welcome, log.read_text()
        yield process, welcome


@contextmanager
def serving(env: dict[str, str]) -> Iterator[str]:
    """A `serve` process; where it listens."""
    with serving_process(env) as (target, _):
        yield target


@contextmanager
def serving_process(env: dict[str, str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The same, and the process."""
    command = [str(BIN / "dag-inference-server"), "serve", "--listen=127.0.0.1:0"]
    with ended(
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        )
    ) as process:
        assert process.stdout is not None
        port = found(r"gRPC on port (\d+)", process.stdout.readline())
        yield f"127.0.0.1:{port}", process


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """End a process with the block, whatever happens in it."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def found(pattern: str, text: str) -> str:
    """The first group of a pattern that has to be there."""
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def runs(process: psutil.Process) -> bool:
    """Whether a process is more than an entry that its parent has not reaped yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
