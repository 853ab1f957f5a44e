"""The board, as Grafana asks for what it shows: for every job and DAG."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from system.conftest import EXAMPLES

BOARD: dict[str, Any] = json.loads((EXAMPLES / "grafana" / "dag-inference.json").read_text())

PANELS: dict[str, dict[str, Any]] = {panel["title"]: panel for panel in BOARD["panels"]}


def targets() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every query with what goes along with it, by the title of its panel."""
    for title, panel in PANELS.items():
        for target in panel.get("targets", ()):
            yield title, target


def variables() -> Iterator[tuple[str, str]]:
    """The family and the label that each choice at the top of the board is made of."""
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert asked
            yield asked[1], asked[2]


def sent(target: dict[str, Any]) -> str:
    """The expression of a target, as Prometheus gets it."""
    expression: str = target["expr"].replace("$__rate_interval", "10s")
    return re.sub(r"\$(job|dag_id)\b", ".*", expression)
