"""Enums of the contract as Python enums."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

Name = TypeVar("Name", bound=StrEnum)


def by_number(names: type[Name], proto: Iterable[tuple[str, int]], prefix: str) -> dict[int, Name]:
    """Map the proto's numbers to our names, the unspecified one aside.

    Made when the module is imported, so that a name that was added to the proto
    and not to the Python enum is found by the first test.
    """
    return {number: names[name.removeprefix(prefix)] for name, number in proto if number}
