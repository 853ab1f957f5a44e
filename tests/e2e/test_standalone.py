"""`standalone` starts, ends and starts again in order, whatever happens to it."""

from __future__ import annotations

import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from e2e.harness import BIN, ROOT, SHELL_ENVIRONMENT, Run, Standalone, ended, runs
from e2e.waiting import eventually


def test_the_line_of_the_welcome_works_when_pasted(standalone: Standalone) -> None:
    """The grpcurl line that `standalone` prints is a call that succeeds."""
    line = standalone.welcome.split("Try it:")[1].split("Ctrl-C")[0]
    ran = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert "setosa" in ran.stdout


def test_reflection_lists_the_services(standalone: Standalone) -> None:
    """Grpcurl finds the service and health by reflection."""
    listed = subprocess.check_output(
        [BIN / "grpcurl", "-plaintext", standalone.target, "list"], text=True
    )
    assert {"dag_inference.v1.DagInference", "grpc.health.v1.Health"} <= set(listed.split())


def test_a_second_one_in_the_same_folder(run: Run, standalone: Standalone, tmp_path: Path) -> None:
    """A folder has one user, a port one listener, a DAG folder exists: each is said plainly."""
    for arguments, says in (
        ([f"--state={standalone.state}", "--listen=127.0.0.1:0"], "another standalone runs in"),
        ([f"--state={tmp_path}", f"--listen={standalone.target}"], "is taken"),
        (
            [
                f"--state={tmp_path}",
                "--listen=127.0.0.1:0",
                f"--airflow-port={standalone.airflow_url.rpartition(':')[2]}",
            ],
            "is taken. Name another with --airflow-port",
        ),
        (
            [f"--state={tmp_path}", "--listen=127.0.0.1:0", f"--dags={tmp_path}/none"],
            "there is no DAG folder",
        ),
    ):
        ran = run("dag-inference-server", "standalone", *arguments)
        assert (ran.returncode, says in ran.stderr) == (2, True), ran.stderr


def test_killed_and_interrupted_while_it_boots(tmp_path: Path) -> None:
    """After a kill -9 the next start ends what was left running; after SIGTERM nothing is left."""
    command = [str(BIN / "dag-inference-server"), "standalone", f"--state={tmp_path}"]

    def start() -> subprocess.Popen[str]:
        with (tmp_path / "stderr").open("w") as errors:
            return subprocess.Popen(
                [*command, "--listen=127.0.0.1:0"],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                env=SHELL_ENVIRONMENT,
            )

    def airflow_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
        family = psutil.Process(process.pid).children(recursive=True)
        with suppress(psutil.NoSuchProcess):
            return [p for p in family if "airflow" in " ".join(p.cmdline())]
        return []

    with ended(start()) as killed:
        eventually(lambda: (tmp_path / "processes.json").exists() and airflow_of(killed))
        left = psutil.Process(killed.pid).children(recursive=True)
        killed.kill()
        killed.wait()
    with ended(start()) as interrupted:
        eventually(lambda: "had left running" in (tmp_path / "stderr").read_text())
        eventually(lambda: airflow_of(interrupted))
        left += psutil.Process(interrupted.pid).children(recursive=True)
        interrupted.send_signal(signal.SIGTERM)
        assert interrupted.wait(60) == 130
    assert [process for process in left if runs(process)] == []


def test_the_demo_once(state_folder: Path) -> None:
    """`make demo ONCE=1` shows the classifier's answer and a stream, and ends with 0."""
    command = [
        "make",
        "-C",
        str(ROOT),
        "demo",
        "ONCE=1",
        f"DEMO=--state {shlex.quote(str(state_folder))} --listen 127.0.0.1:0",
    ]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=SHELL_ENVIRONMENT
    )
    assert ran.returncode == 0, ran.stderr
    assert '"labels": ["versicolor"]' in ran.stdout
    assert '"primes": 9592' in ran.stdout
    assert "task total success" in ran.stderr
