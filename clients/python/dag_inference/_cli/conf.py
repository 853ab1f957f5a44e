"""The conf from the command line, a file or stdin."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer


def read_conf(source: str | None) -> dict[str, Any] | None:
    """Read a conf.

    Args:
        source: JSON, `@` and the name of a file with JSON, or `-` for stdin.

    Raises:
        typer.BadParameter: It cannot be read, or is not one JSON object.
    """
    if source is None:
        return None
    try:
        conf = json.loads(_text(source), parse_constant=_refuse, object_pairs_hook=_object)
        # A number such as 1e999 is read as infinity, which JSON does not have.
        json.dumps(conf, allow_nan=False)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"not JSON: {error}") from error
    if not isinstance(conf, dict):
        raise typer.BadParameter(f"not a JSON object but {json.dumps(conf)[:40]}")
    return conf


def _text(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    if source.startswith("@"):
        return Path(source[1:]).read_text(encoding="utf-8-sig")
    return source


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {json.dumps(twice)} twice")
    return made


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")
