"""What a JSON value is made of."""

from __future__ import annotations

from collections.abc import Callable

from dag_inference_server.results.struct import Json


def with_leaves(value: Json, change: Callable[[Json], Json]) -> Json:
    """The value with everything changed in it that is neither a list nor an object.

    Raises:
        RecursionError: It is nested about a thousand levels deep.
    """
    match value:
        case list():
            return [with_leaves(item, change) for item in value]
        case dict():
            return {key: with_leaves(item, change) for key, item in value.items()}
        case _:
            return change(value)
