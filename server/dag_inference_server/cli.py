"""The command `dag-inference-server`: serve, standalone, check."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import structlog
import typer
from pydantic import ValidationError

from dag_inference_server import logs
from dag_inference_server.logs.outlet import Outlet
from dag_inference_server.ports import check_free
from dag_inference_server.settings import (
    CONFIG_ENV,
    ENV_PREFIX,
    Settings,
    unknown_environment,
)
from dag_inference_server.signals import Signals

app = typer.Typer(
    help="Call an Apache Airflow DAG like any other gRPC method: the gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A TOML file with settings.", dir_okay=False)
]
ListenOption = Annotated[
    str | None, typer.Option("--listen", help="Where to serve gRPC, HOST:PORT.")
]

_STATE = Path("~/.dag-inference")

log = structlog.get_logger(__name__)

_stdout = Outlet(1, lambda _: b"")


@app.command()
def serve(
    config: ConfigOption = None,
    listen: ListenOption = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Serve without TLS on an address beyond this machine."),
    ] = False,
) -> None:
    """Serve the gateway in front of an Airflow that exists."""
    settings = _settings(config, listen=listen)
    _log_unknown()
    if settings.exposed and not insecure:
        _fail(
            f"{settings.exposed[0]} is reachable from other machines, and there is no TLS yet: "
            "listen on 127.0.0.1, or say --insecure."
        )
    if not settings.listens_on_loopback and settings.dags is None:
        _fail(
            f"{settings.listen} is reachable from other machines: "
            f"say which DAGs are served, with {ENV_PREFIX}DAGS."
        )
    try:
        _run(_serve(settings, Signals(), lambda port: _tell(f"gRPC on port {port}")))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def standalone(
    config: ConfigOption = None,
    listen: ListenOption = None,
    state: Annotated[
        Path, typer.Option(help="Where everything is kept.", file_okay=False)
    ] = _STATE,
    dags: Annotated[
        list[Path] | None, typer.Option(help="A folder with DAGs, instead of the examples.")
    ] = None,
    airflow_port: Annotated[
        int, typer.Option(help="Of Airflow's UI and API; 0 for a free one.", min=0, max=65535)
    ] = 0,
) -> None:
    """Boot a local Airflow, with the example DAGs, and serve the gateway in front of it."""
    try:
        from dag_inference_server.standalone import airflow, processes, progress
    except ImportError as error:
        _fail(f"{error.name} is not installed: install the extra dag-inference-server[standalone].")
    settings = _settings(config, listen=listen)
    _log_unknown()
    if not settings.listens_on_loopback:
        _fail("standalone is for this machine alone: listen on 127.0.0.1.")
    _check_free(settings.listen)
    if settings.metrics_listen != "off":
        _check_free(settings.metrics_listen, "METRICS_LISTEN")
    signals = Signals()
    folders = [folder.resolve() for folder in dags or [airflow.EXAMPLE_DAGS]]
    try:
        with airflow.running_airflow(
            state,
            folders,
            airflow_port,
            progress.Progress(),
            ending=signals.ignore,
        ) as embedded:
            settings = _settings(
                config,
                listen=listen,
                airflow_url=embedded.url,
                airflow_username=airflow.USER,
                airflow_password=embedded.password,
                airflow_token=None,
                reflection=True if settings.reflection is None else settings.reflection,
            )
            _run(
                _serve(
                    settings,
                    signals,
                    lambda port: _print_welcome(
                        f"{settings.listen.rpartition(':')[0]}:{port}",
                        embedded.url,
                        embedded.password,
                        has_examples=airflow.EXAMPLE_DAGS in folders,
                    ),
                    embedded.problem,
                )
            )
    except (airflow.CannotStart, processes.ComponentFailed) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        logs.write("interrupted")
        raise typer.Exit(130) from None


@app.command()
def check(config: ConfigOption = None, listen: ListenOption = None) -> None:
    """Show the effective settings, and whether Airflow is as the gateway needs it."""
    from dag_inference_server.check import CheckFailed, check_airflow

    settings = _settings(config, listen=listen)
    for name in unknown_environment():
        logs.write(f"warning: {name} is no setting of the gateway")
    for name, value in settings.shown().items():
        shown = "unset" if value is None else value if isinstance(value, str) else json.dumps(value)
        print(f"{ENV_PREFIX}{name.upper()}={shown}")

    async def tell() -> None:
        async for finding in check_airflow(settings):
            print(finding)

    print(flush=True)
    try:
        asyncio.run(tell())
    except CheckFailed as error:
        _fail(str(error))


def main() -> None:
    """Run the command line."""
    _open_what_is_closed()
    app()


def _open_what_is_closed() -> None:
    """Let what a supervisor has closed lead nowhere.

    Else the next file that is opened, such as a connection, has its number, and gets the log.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, and so for the processes that are started from here.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _settings(config: Path | None, **given: Any) -> Settings:
    """The effective settings; what is wrong with them is said in plain lines."""
    if config is not None:
        os.environ[CONFIG_ENV] = str(config)
    if given.get("listen") is None:
        given.pop("listen", None)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            # The keys of a setting that is an object are as its author wrote them.
            first, *keys = [str(part) for part in problem["loc"]] or ["settings"]
            name = ".".join([first.upper() if problem["loc"] else first, *keys])
            said = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                # Only the file can name what there is not.
                said = f"is no setting of the gateway, but stands in {os.environ[CONFIG_ENV]}"
            logs.write(f"{name}: {said}")
        raise typer.Exit(2) from None
    except ValueError as error:
        _fail(str(error))
    logs.configure(settings.log_level, settings.log_format)
    return settings


def _log_unknown() -> None:
    for name in unknown_environment():
        log.warning("unknown_setting", name=name)


def _fail(message: str) -> NoReturn:
    logs.write(message)
    raise typer.Exit(2)


def _check_free(address: str, setting: str = "--listen") -> None:
    """Find out before Airflow has booted that the port is taken."""
    try:
        check_free(address)
    except OSError:
        _fail(f"{address} is taken. Name another with {setting}, for example 127.0.0.1:0.")


def _run(serving: Coroutine[Any, Any, None]) -> None:
    """Run it in an event loop that takes less of every call than Python's own.

    What is loaded by now stays, and calls leave few cycles: the collector need not look at
    all of it, and at ten thousand waiting calls, every few hundred objects.
    """
    import gc

    import uvloop

    gc.freeze()
    gc.set_threshold(10_000, 50, 50)
    try:
        uvloop.run(serving)
    finally:
        # What comes now, such as Airflow's own end, can take long.
        logs.flush()
        # Nor at the end, which would take half a second of the grace.
        gc.freeze()


async def _serve(
    settings: Settings,
    signals: Signals,
    started: Callable[[int], None],
    check: Callable[[], Exception | None] = lambda: None,
) -> None:
    """Serve until a signal comes, or `check` finds a problem, which is raised."""
    from dag_inference_server.gateway import serving
    from dag_inference_server.server import CannotListen
    from dag_inference_server.tracing.switch import CannotTrace

    stop, problem = asyncio.Event(), None
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(logs.tell_of_loop)
    hurry: Callable[[], None] = stop.set

    def stop_soon() -> None:
        # The second signal gives the calls in flight no more time.
        loop.call_soon_threadsafe(hurry if stop.is_set() else stop.set)

    try:
        with signals.calling(stop_soon):
            async with serving(settings) as gateway:
                hurry = gateway.hurry
                started(gateway.port)
                while not stop.is_set() and (problem := check()) is None:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(1):
                            await stop.wait()
    except (CannotListen, CannotTrace) as error:
        _fail(f"{error}.")
    if problem is not None:
        raise problem


def _print_welcome(address: str, airflow_url: str, password: str, *, has_examples: bool) -> None:
    request = (
        f"""-d '{{"dag_id": "classify_iris"}}' \\\n    {address}""" if has_examples else address
    )
    method = "Invoke" if has_examples else "ListDags"
    beside = Path(sys.executable).with_name("grpcurl")
    grpcurl = "grpcurl" if shutil.which("grpcurl") or not beside.exists() else str(beside)
    _tell(
        f"""
  gRPC      {address}
  Airflow   {airflow_url}   user admin   password {password}

  Try it:
  {grpcurl} -plaintext {request} dag_inference.v1.DagInference/{method}

  Ctrl-C ends everything.
"""
    )


def _tell(text: str) -> None:
    """Say on stdout where it serves; a reader that does not read it holds up nobody."""
    _stdout.put([f"{text}\n".encode(sys.stdout.encoding, "backslashreplace")])
    _stdout.wait(0.1)
