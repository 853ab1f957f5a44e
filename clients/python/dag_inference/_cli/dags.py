"""DAGs on a terminal: what there is to call, and how."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dag_inference._dags import DagAvailability

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dag_inference._dags import Dag

_STYLES = {DagAvailability.READY: "green", DagAvailability.PAUSED: "yellow"}

_RULES = {
    "request": "named by the request",
    "tag": "by its tag",
    "setting": "by the gateway's setting",
    "declared": "declared by the DAG",
    "leaf": "its only leaf",
    "none": "the DAG has no result task",
    "run_end": "told by a run when it has ended",
}


def print_dags(dags: Iterable[Dag]) -> None:
    """One line for each."""
    table = _table()
    for dag in dags:
        table.add_row(
            Text(dag.dag_id, "bold"),
            _availability(dag),
            _printable(dag.availability_detail or dag.description),
        )
    _console().print(table)


def summary(dag: Dag) -> dict[str, Any]:
    """What a listing tells of a DAG."""
    return {
        "dag_id": dag.dag_id,
        "display_name": dag.display_name,
        "description": dag.description,
        "tags": dag.tags,
        "availability": dag.availability,
        "availability_detail": dag.availability_detail,
        "max_active_runs": dag.max_active_runs,
    }


def print_dag(dag: Dag, target: str) -> None:
    """All that a caller wants to know, and a command to begin with."""
    console = _console()
    console.print(Text(dag.dag_id, "bold"), _availability(dag))
    about = Table.grid(padding=(0, 2))
    for name, value in _facts(dag):
        if value:
            about.add_row(Text(f"  {name}", "dim"), _printable(value))
    console.print(about)
    if properties := dag.params_schema.get("properties"):
        console.print(Text("\nParams", "bold"))
        console.print(_params(properties, dag.params_schema.get("required", ())))
    elif not dag.params_schema:
        # Of a DAG without params, the schema says so.
        console.print(Text("\nParams", "bold"))
        console.print(Text("  not told exactly: too deep, too large, or an integer beyond 2^53"))
    if dag.documentation:
        console.print(Text("\nDocumentation", "bold"))
        console.print(_printable(dag.documentation, keep="\n"))
    console.print(Text("\nCall it", "bold"))
    # As it is, to be copied: no wrapping.
    console.print(_printable(f"  {_command(dag, target)}"), soft_wrap=True)


def _facts(dag: Dag) -> Iterable[tuple[str, str]]:
    yield "", dag.availability_detail
    yield "about", dag.description
    rule = _RULES.get(dag.result_rule, "")
    yield "result", ", ".join(dag.result_task_ids) + (f" ({rule})" if dag.result_task_ids else rule)
    limit = f" of {dag.max_active_runs}" if dag.max_active_runs else ""
    yield "runs", f"{dag.active_runs}{limit} queued or running"
    yield "tags", ", ".join(dag.tags)
    yield "version", str(dag.dag_version or "")


def _params(properties: Mapping[str, Any], required: Iterable[str]) -> Table:
    table = _table()
    for name, schema in properties.items():
        types = schema.get("type", "any")
        default = (
            "required"
            if name in required
            else json.dumps(schema.get("default"), ensure_ascii=False)
        )
        table.add_row(
            Text(f"  {_clean(name)}"),
            _printable(", ".join(types) if isinstance(types, list) else str(types)),
            _printable(default),
            _printable(str(schema.get("description") or "")),
        )
    return table


def _command(dag: Dag, target: str) -> str:
    command = ["dag-inference", "invoke", dag.dag_id, "--target", target]
    if dag.example:
        command += ["--conf", json.dumps(dag.example, ensure_ascii=False)]
    return shlex.join(command)


def _availability(dag: Dag) -> Text:
    return Text(dag.availability.replace("_", " "), _STYLES.get(dag.availability, "red"))


def _table() -> Table:
    return Table(box=None, show_header=False, padding=(0, 2, 0, 0))


def _printable(text: str, keep: str = "") -> Text:
    return Text(_clean(text, keep))


def _clean(text: str, keep: str = "") -> str:
    """The text without characters that could steer a terminal."""
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)


def _console() -> Console:
    # A pipe has no width, and nothing is to be cut off in it.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
