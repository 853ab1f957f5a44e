"""What Airflow's API says of XComs: JSON documents, and the values in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dag_inference_server.results.plain import read_plain
from dag_inference_server.results.written import Value, written


class NoXComs(ValueError):
    """The document is another, of something else, or no JSON."""


def value_of(entry: bytes, of: Mapping[str, object], *, as_text: bool) -> Value:
    """The value in an XCom entry, with every envelope in it opened, and perhaps as text.

    Raises:
        NoXComs: It is no XCom entry, or not `of` the task instance that was asked for.
        RecursionError: It is nested about a thousand levels deep.
    """
    found = _object(entry, "value")
    if any(found.get(name) != of_it for name, of_it in of.items()):
        raise NoXComs("an entry of another task instance")
    value: Value = found["value"]
    return written(value) if as_text else value


def names_of(said: bytes, *, as_text: bool) -> tuple[str, ...]:
    """The tasks whose results stand in what `/wait` says of a run that has ended.

    Raises what `value_of` does.
    """
    return tuple(_results(said))


def results_of(said: bytes, mapped: Collection[str], *, as_text: bool) -> Mapping[str, Value]:
    """The results by task in what `/wait` says of a run that has ended; none if it names none.

    As text, those of `mapped` tasks are a list of texts. Raises what `value_of` does.
    """
    values = _results(said)
    if not as_text:
        return values
    return {
        task_id: [written(item) for item in value]
        if task_id in mapped and isinstance(value, list)
        else written(value)
        for task_id, value in values.items()
    }


def _results(said: bytes) -> dict[str, Value]:
    results = _object(said, "state").get("results", {})
    if not isinstance(results, dict):
        raise NoXComs("no results by task")
    return results


def _object(document: bytes, field: str) -> dict[str, Any]:
    """A JSON object that has a field."""
    try:
        read = read_plain(document)
    except ValueError as error:
        raise NoXComs("no JSON") from error
    if not isinstance(read, dict) or field not in read:
        raise NoXComs(f"no object with the field {field}")
    return read
