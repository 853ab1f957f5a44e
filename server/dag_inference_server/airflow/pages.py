"""Listings that come in pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

RowT_co = TypeVar("RowT_co", covariant=True)
RowT = TypeVar("RowT")

PAGE = 100
"""Airflow's own limit of a page, `[api] maximum_page_limit`."""


class Page(Protocol[RowT_co]):
    """A part of a listing."""

    @property
    def rows(self) -> Sequence[RowT_co]:
        """This part."""

    @property
    def total_entries(self) -> int:
        """How many rows there are on all pages."""


async def all_pages(read: Callable[..., Awaitable[Page[RowT]]], **filters: Any) -> list[RowT]:
    """Every row of a listing.

    Args:
        read: Reads one page.
        filters: Its arguments, beside `limit` and `offset`.
    """
    rows: list[RowT] = []
    while True:
        page = await read(limit=PAGE, offset=len(rows), **filters)
        rows += page.rows
        if not page.rows or len(rows) >= page.total_entries:
            return rows
