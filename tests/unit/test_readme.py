"""What README and docs say of settings, tests and the log is true."""

from __future__ import annotations

import re
from collections import defaultdict

from readme import README, with_settings

ROOT = README.parent


def test_the_table_of_settings_is_the_settings() -> None:
    """Every setting stands in the README with its default; `python tests/readme.py` writes it."""
    text = README.read_text()
    assert text == with_settings(text)


def test_every_promise_names_tests_that_exist() -> None:
    """What shows a promise can be found."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    rows = [row for row in page.splitlines() if row.startswith("| ") and "Shown by" not in row]
    existing = {path.name for path in (ROOT / "tests").rglob("test_*.py")}

    for row in rows:
        named = re.findall(r"test_[a-z_]+\.py", row)
        assert named, row
        assert existing.issuperset(named), row


def test_every_event_of_the_log_is_told_of() -> None:
    """With its levels, and what is told of is an event."""
    called = re.compile(r'\blog\.(debug|info|warning|error|exception)\(\s*"(\w+)"')
    logged = defaultdict[str, set[str]](set)
    for path in (ROOT / "server" / "dag_inference_server").rglob("*.py"):
        for level, event in called.findall(path.read_text()):
            logged[event].add({"exception": "error"}.get(level, level))
    # At the level of whoever has it to say.
    logged["library"] = {"any"}
    # Nobody says it: it stands where lines are missing.
    logged["log_lines_lost"] = {"warning"}

    page = (ROOT / "docs" / "operations.md").read_text()
    _, _, rest = page.partition("\n| Event | Level |")
    table, _, _ = rest.partition("\n\n")
    rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \|", table, re.MULTILINE)

    assert [event for event, _ in rows] == sorted(logged)
    assert {event: set(levels.split(", ")) for event, levels in rows} == logged
