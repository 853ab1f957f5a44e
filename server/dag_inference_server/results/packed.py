"""Values that are too long to be taken apart in the process that serves calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dag_inference_server.results.plain import read_plain
from dag_inference_server.results.struct import Json

_LEVELS = 2
"""Packed values stand in the lists of mapped tasks, by task."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A value as the text of its JSON: nothing to hold, to send to a process or to forget."""

    text: bytes
    is_object: bool


def pack(value: Json) -> Packed | None:
    """A value in its text; `None` as it is."""
    if value is None:
        return None
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate comes back as it was.
    return Packed(text.encode(errors="surrogatepass"), isinstance(value, dict))


def unpacked(value: Any, levels: int = _LEVELS) -> Any:
    """A value, a list or an object of values: with those that are packed taken out."""
    match value:
        case Packed():
            return json.loads(value.text)
        case list() if levels:
            return [unpacked(item, levels - 1) for item in value]
        case dict() if levels:
            return {key: unpacked(item, levels - 1) for key, item in value.items()}
        case _:
            return value


def read_packed(text: bytes, packing: Callable[[Any], Any]) -> Any:
    """Read JSON as `read_plain`, and pack what is in it.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested about a thousand levels deep.
    """
    return packing(read_plain(text))


def pack_entry(document: Any) -> Any:
    """Pack the value of an XCom as Airflow hands it over."""
    if not isinstance(document, dict) or "value" not in document:
        return document
    return {"value": pack(document["value"])}


def pack_results(document: Any, lengths: Mapping[str, int]) -> Any:
    """Pack the results of a run as Airflow hands them over, by task.

    Args:
        document: What it says at the end of a wait.
        lengths: The mapped tasks, and how many values each has to have: packed one by one.
    """
    if not isinstance(document, dict) or not isinstance(results := document.get("results"), dict):
        return document

    def packed(task_id: str, value: Json) -> Any:
        if isinstance(value, list) and len(value) == lengths.get(task_id):
            return [pack(item) for item in value]
        return pack(value)

    return document | {"results": {t: packed(t, value) for t, value in results.items()}}
