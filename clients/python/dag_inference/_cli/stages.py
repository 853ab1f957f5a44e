"""The stages of a call, as a line or as a bar."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Group
from rich.text import Text

from dag_inference._cli.durations import short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dag_inference import Timing

_COLORS = {
    "admission": "white",
    "trigger": "blue",
    "queued": "yellow",
    "running": "green",
    "detection": "magenta",
    "value_read": "cyan",
    "translation": "red",
    "unattributed": "bright_black",
}
"""The fields of `Timing` that are stages, in their order."""

_BAR = 40
"""The length of the bar, in characters."""


def line(timing: Timing) -> str:
    """Each stage with its time: `1.2 s: trigger 20 ms, running 1.1 s, ...`."""
    stages = ", ".join(f"{name} {short(span)}" for name, span in _stages(timing))
    total = short(timing.total) if timing.total else ""
    return ": ".join(part for part in (total, stages) if part)


def bar(timing: Timing) -> Group:
    """The stages side by side, each as long as its share, and their names below."""
    stages = list(_stages(timing))
    whole = sum((span for _, span in stages), timedelta())
    strip = Text()
    for name, span in stages:
        strip.append(" " * round(_BAR * (span / whole)), style=f"on {_COLORS[name]}")
    total = f" {short(timing.total)}" if timing.total else ""
    legend = [
        Text.assemble(("  ", f"on {_COLORS[name]}"), f" {name} {short(span)}")
        for name, span in stages
    ]
    return Group(Text.assemble(strip, total), Columns(legend, padding=(0, 2)))


def _stages(timing: Timing) -> Iterator[tuple[str, timedelta]]:
    for name in _COLORS:
        if span := getattr(timing, name):
            yield name, span
