"""Tracing costs nothing where it is off, and says what is missing where it is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dag_inference_server.tracing.switch import CannotTrace, traces_to


def test_off_nothing_of_it_is_loaded() -> None:
    """The gateway starts without OpenTelemetry, which need not be installed."""
    code = (
        "import sys, dag_inference_server.gateway\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert traces_to(None, "service").trace_id() is None


def test_the_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said which one it is."""
    for module in ("rpcs", "tracing"):
        monkeypatch.delitem(sys.modules, f"dag_inference_server.tracing.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)

    with pytest.raises(CannotTrace, match=r"install the extra dag-inference-server\[otel\]"):
        traces_to("http://127.0.0.1:4317", "service")
