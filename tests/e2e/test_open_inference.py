"""A DAG as a model, called by Triton's client through a real Airflow."""

from __future__ import annotations

import re
import subprocess

from e2e.harness import ROOT, TRITON, Standalone


def test_numpy_in_and_numpy_back(standalone: Standalone) -> None:
    """The example script, as it is: what the DAG takes, a batch as one run, and a failure."""
    ran = subprocess.run(
        [TRITON, ROOT / "examples" / "classify_flowers.py", standalone.target],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )

    assert ran.returncode == 0, ran.stderr
    assert re.search(r"input +instances +FP64 +\[-1, 4\]", ran.stdout)
    assert re.search(r"output +probabilities +FP32 +\[-1, 3\]", ran.stdout)
    assert re.search(r"one run, grpc-\S+:", ran.stdout)
    labels = re.findall(r"^  (\w+) +[01]\.\d{3}$", ran.stdout, re.MULTILINE)
    assert labels == ["setosa", "versicolor", "virginica"]
    assert "A flower that is none: TASK_FAILED: task features failed" in ran.stdout
