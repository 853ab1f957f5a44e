"""A picture of the board for the docs, plotted from its own queries on a real Prometheus."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from system.board import PANELS, sent
from system.conftest import Prometheus

PICTURED = (
    "Calls a second, by method",
    "Calls a second without a result, by DAG and reason",
    "Time to result, by DAG",
    "Seconds of an answered call, by stage",
    "Calls in flight, by what they wait for",
    "Requests a second, by status",
)
"""The titles of those that are shown."""


async def draw(prometheus: Prometheus, picture: Path, seconds: float) -> None:
    """Plot the last so many seconds of some panels of the board."""
    mpl.rcParams |= {"font.size": 7}
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    end = time.time()
    for axes, title in zip(figure.subplots(2, 3).flat, PICTURED, strict=True):
        await _plot(axes, PANELS[title], prometheus, end - seconds, end)
    figure.savefig(picture, dpi=120)


async def _plot(
    axes: Axes, panel: dict[str, Any], prometheus: Prometheus, start: float, end: float
) -> None:
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for target in panel["targets"]:
        for labels, points in await prometheus.range(sent(target), start, end):
            if not any(value for _, value in points):
                # A method that nobody calls is a line in the board, and would hide others here.
                continue
            name = target["legendFormat"]
            for label, value in labels.items():
                name = name.replace(f"{{{{{label}}}}}", value)
            lines[name] = ([at - start for at, _ in points], [value for _, value in points])
    if panel["fieldConfig"]["defaults"]["custom"].get("stacking"):
        times = sorted({at for xs, _ in lines.values() for at in xs})
        rows = [dict(zip(*line, strict=True)) for line in lines.values()]
        axes.stackplot(times, [[row.get(at, 0) for at in times] for row in rows], labels=lines)
    else:
        for name, (xs, ys) in sorted(lines.items()):
            axes.plot(xs, ys, label=name, linewidth=1)
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes.set_title(f"{panel['title']} ({unit})" if unit == "s" else panel["title"], fontsize=8)
    axes.margins(y=0.3)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("s")
    axes.legend(fontsize=5, loc="upper left", ncols=2)
    axes.grid(visible=True, linewidth=0.3)
