"""The run id in the initial metadata of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

_RUN_ID_KEY = "dag-run-id"


def run_id_in(metadata: Metadata | None) -> str | None:
    """The run id, if the run existed when the metadata was sent."""
    found = (value for key, value in metadata or () if key == _RUN_ID_KEY)
    value = next(found, None)
    return value.decode() if isinstance(value, bytes) else value
