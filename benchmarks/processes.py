"""Processes of the bench: each in a session of its own, ended as a group, with what it spends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]

KEPT = ROOT / ".bench"
"""Where logs and figures are left."""

ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("AIRFLOW", "DAG_INFERENCE", "PYTHON"))
} | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
"""What a process gets: nothing from outside that would change what it does."""

_ENDS_WITHIN = 20
"""Seconds until what does not end by itself is killed."""


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str] = ENVIRONMENT
) -> Iterator[subprocess.Popen[str]]:
    """Run a process inside the block. Its stderr goes to a log file of the bench."""
    KEPT.mkdir(exist_ok=True)
    with (
        (KEPT / "processes.log").open("a") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=dict(environment),
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            _end(process)


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of the bench."""
    return [sys.executable, "-m", name, *arguments]


def first_line(process: subprocess.Popen[str]) -> str:
    """What a process says once it serves.

    Raises:
        RuntimeError: It has ended without a word.
    """
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"{process.args!r} did not start: see {KEPT / 'processes.log'}")
    return line


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process and its children have used so far, in seconds."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    resident: int = psutil.Process(pid).memory_info().rss
    return resident


def _end(process: subprocess.Popen[str]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_WITHIN)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
