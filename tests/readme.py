"""The README's table of settings, made from the settings themselves.

`python tests/readme.py` writes it; a test holds the README to it.
"""

from __future__ import annotations

import json
from pathlib import Path

from dag_inference_server.settings import Settings

README = Path(__file__).resolve().parents[1] / "README.md"
_START, _END = "<!-- settings -->\n", "<!-- /settings -->\n"


def settings_table() -> str:
    """A row for each setting."""
    rows = ["| Setting | Default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "unset" if default is None else f"`{_plain(default)}`"
        what = " ".join((field.description or "").split())
        rows.append(f"| `{name.upper()}` | {shown} | {what} |")
    return "\n".join(rows) + "\n"


def with_settings(readme: str) -> str:
    """The README with the table as it should be."""
    before, _, rest = readme.partition(_START)
    _, _, after = rest.partition(_END)
    return f"{before}{_START}{settings_table()}{_END}{after}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    README.write_text(with_settings(README.read_text()))
