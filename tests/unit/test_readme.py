"""What the README says of the settings is true."""

from __future__ import annotations

from readme import README, with_settings


def test_the_table_of_settings_is_the_settings() -> None:
    """Every setting stands in the README with its default; `python tests/readme.py` writes it."""
    text = README.read_text()
    assert text == with_settings(text)
