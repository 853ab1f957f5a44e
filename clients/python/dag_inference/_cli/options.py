"""The arguments and options, each once."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import typer

from dag_inference._channels import check_target
from dag_inference._cli.conf import read_conf

_LONGEST = 315_576_000_000
"""What a protobuf Duration can hold, in seconds: 10,000 years."""


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST:
        raise typer.BadParameter(f"{text!r} is not a number of seconds above zero")
    return seconds


def _target(text: str) -> str:
    try:
        return check_target(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


DagId = Annotated[str, typer.Argument(help="The DAG.", show_default=False)]
RunId = Annotated[str, typer.Argument(help="The run.", show_default=False)]
Conf = Annotated[
    Any,
    typer.Option(
        "--conf",
        "-c",
        metavar="JSON",
        parser=read_conf,
        help="The conf, a JSON object: as text, as [b]@file.json[/b], or [b]-[/b] for stdin.",
    ),
]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        metavar="HOST:PORT",
        envvar="DAG_INFERENCE_TARGET",
        parser=_target,
        help="The gateway.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        parser=_seconds,
        help="How long to wait.",
        show_default="the gateway's",
    ),
]
RequestId = Annotated[
    str | None,
    typer.Option(
        help="Names the call: repeated with the same id it attaches to the same run.",
        show_default="a random one",
    ),
]
ResultTask = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TASK_ID",
        help="A task whose value is the result; may be repeated.",
        show_default="the DAG's own choice",
    ),
]
RunTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        parser=_seconds,
        help="How long the run itself may take; then it is cancelled.",
        show_default="the DAG's own limit",
    ),
]
OnDeadline = Annotated[
    Literal["keep", "cancel"],
    typer.Option(help="What becomes of the run when [b]--timeout[/b] is over."),
]
OnDisconnect = Annotated[
    Literal["keep", "cancel"],
    typer.Option(help="What becomes of the run when this command is interrupted."),
]
Reference = Annotated[
    bool,
    typer.Option("--reference", help="Print where the values lie instead of the values."),
]
Tag = Annotated[
    list[str] | None,
    typer.Option(metavar="TAG", help="Only DAGs with this tag; may be repeated: with all of them."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Comment = Annotated[str, typer.Option(help="Why, for the people who look at the run in Airflow.")]

LOCAL = "127.0.0.1:50051"
"""Where a gateway listens that was not told otherwise."""
