"""What was measured: tables on the terminal, the same as JSON, and the bars beside it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

T = TypeVar("T")

Cell: TypeAlias = str | float | int | None
"""`None` is what does not apply."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise about a figure."""

    what: str
    measured: float
    limit: float
    unit: str
    at_least: bool = False
    """Whether the limit is a lower one."""

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(slots=True)
class Report:
    """Prints what comes in, keeps it, and tells of the bars at the end."""

    console: Console = field(default_factory=lambda: Console(width=170, highlight=False))
    tables: list[dict[str, object]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """What could not be measured, and why."""

    async def attempt(self, what: str, measuring: Awaitable[T]) -> T | None:
        """Measure one thing; if that breaks, say so and go on with the next."""
        try:
            return await measuring
        except Exception as error:
            self.console.print_exception()
            self.broken.append(f"{what}: {error!r}")
            return None

    def say(self, text: str) -> None:
        """Tell what goes on."""
        self.console.print(f"[dim]{text}[/dim]")

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], note: str
    ) -> None:
        """Show a table.

        Args:
            title: What is compared.
            columns: What each column holds, with its unit.
            rows: The figures; the first cell says what they are of.
            note: How it was measured.
        """
        table = Table(title=title, title_justify="left")
        for number, column in enumerate(columns):
            # What a row is about stays on one line; the heads of figures may wrap.
            table.add_column(column, justify="right" if number else "left", no_wrap=not number)
        for row in rows:
            table.add_row(*(_shown(cell) for cell in row))
        self.console.print()
        self.console.print(table)
        self.console.print(note, style="dim", markup=False)
        named = [dict(zip(columns, row, strict=True)) for row in rows]
        self.tables.append({"title": title, "note": note, "rows": named})

    def bar(
        self, what: str, measured: float, limit: float, unit: str, *, at_least: bool = False
    ) -> None:
        """Note a promise and what was measured of it."""
        self.bars.append(Bar(what, measured, limit, unit, at_least))

    def conclude(self, file: Path) -> None:
        """Show every bar, and write everything down."""
        table = Table(title="Bars", title_justify="left")
        for column in ("", "measured", "bar", ""):
            table.add_column(column)
        for bar in self.bars:
            sign = "≥" if bar.at_least else "≤"
            limit = f"{sign} {bar.limit:g} {bar.unit}"
            measured = f"{_shown(bar.measured)} {bar.unit}"
            verdict = "[green]holds[/green]" if bar.holds else "[red]missed[/red]"
            table.add_row(bar.what, measured, limit, verdict)
        self.console.print()
        self.console.print(table)
        file.parent.mkdir(exist_ok=True)
        bars = [
            {
                "what": bar.what,
                "measured": bar.measured,
                "limit": bar.limit,
                "unit": bar.unit,
                "at_least": bar.at_least,
                "holds": bar.holds,
            }
            for bar in self.bars
        ]
        for line in self.broken:
            self.console.print(f"[red]not measured[/red] {escape(line)}")
        figures = {"tables": self.tables, "bars": bars, "broken": self.broken}
        file.write_text(json.dumps(figures, indent=2) + "\n")


def _shown(cell: Cell) -> str:
    match cell:
        case None:
            return "-"
        case float():
            return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:,.0f}"
        case int():
            return f"{cell:,}"
        case _:
            return cell
