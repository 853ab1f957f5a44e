"""What README and docs say of settings and tests is true."""

from __future__ import annotations

import re

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
