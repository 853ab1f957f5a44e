"""Nothing in the README that does not work when pasted."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from e2e.harness import BIN, ROOT, TRITON, Standalone

_BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def _command(language: str, text: str, folder: Path) -> list[str]:
    if language == "sh":
        return ["bash", "-e", "-c", text]
    script = folder / "pasted.py"
    script.write_text(text)
    return [str(TRITON if "tritonclient" in text else BIN / "python"), str(script)]


@pytest.mark.parametrize(("language", "text"), _BLOCKS, ids=range(len(_BLOCKS)))
def test_what_the_readme_shows_works(
    standalone: Standalone, tmp_path: Path, language: str, text: str
) -> None:
    """Each block runs as it stands, but for the port of this test's gateway."""
    here = text.replace("127.0.0.1:50051", standalone.target)
    here = here.replace(".venv/bin/", f"{BIN}/")
    ran = subprocess.run(
        _command(language, here, tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env={"DAG_INFERENCE_TARGET": standalone.target, "PATH": "/usr/bin:/bin"},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout
    if language == "python":
        last = "parse_order failed in run grpc-" if "TaskFailed" in text else "(2, 3)"
        assert last in ran.stdout


def test_there_are_blocks_to_run() -> None:
    """The README shows calls from grpcurl, Python and the command line."""
    assert [language for language, _ in _BLOCKS].count("sh") >= 3
    assert "python" in dict(_BLOCKS)
