"""What goes to stdout: the result as JSON, and nothing else."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from dag_inference import Result


def print_result(result: Result) -> None:
    """Print the value, or the references if those were asked for."""
    references = {"references": [asdict(each) for each in result.references]}
    print_json(references if result.references else result.value)


def print_json(value: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Print it for the eye in a terminal, else on one line."""
    indent = 2 if sys.stdout.isatty() else None
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # As bytes, because JSON is UTF-8 in every locale.
    typer.echo(text.encode())
