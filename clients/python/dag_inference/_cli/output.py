"""What goes to stdout: the result as JSON, and nothing else."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer


def print_json(value: dict[str, Any]) -> None:
    """Print it for the eye in a terminal, else on one line."""
    indent = 2 if sys.stdout.isatty() else None
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # As bytes, because JSON is UTF-8 in every locale.
    typer.echo(text.encode())
