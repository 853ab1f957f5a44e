"""Tracing costs nothing where it is off, and says what is missing where it is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dag_inference_server.tracing.sampling import SomePerSecond, chooser
from dag_inference_server.tracing.switch import CannotTrace, traces_to


def test_off_nothing_of_it_is_loaded() -> None:
    """The gateway starts without OpenTelemetry, which need not be installed."""
    code = (
        "import sys, dag_inference_server.gateway\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert traces_to(None, ["service"], 1).trace_id() is None


def test_the_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said which one it is."""
    for module in ("rpcs", "tracing"):
        monkeypatch.delitem(sys.modules, f"dag_inference_server.tracing.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)

    with pytest.raises(CannotTrace, match=r"install the extra dag-inference-server\[otel\]"):
        traces_to("http://127.0.0.1:4317", ["service"], 1)


def test_some_calls_of_each_second_are_recorded() -> None:
    """All while there are few; of many as many as is said, after a rest those of ten seconds."""
    now = 100.0
    some = SomePerSecond(2, lambda: now)

    def recorded(calls: int) -> int:
        return sum(some() for _ in range(calls))

    assert recorded(100) == 20
    now += 0.5
    assert recorded(100) == 1
    now += 5
    assert recorded(100) == 10
    now += 60
    assert recorded(100) == 20


def test_less_than_one_call_a_second() -> None:
    """One of ten seconds is one of ten seconds, and not none."""
    now = 100.0
    some = SomePerSecond(0.1, lambda: now)
    found = []
    for _ in range(40):
        found.append(some())
        now += 0.5

    assert found[0]
    assert 2 <= sum(found) <= 3


def test_the_environment_may_name_another_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as everywhere: it is asked about every call."""
    choose = chooser(0.1)
    assert [choose() for _ in range(3)] == [True, False, False]
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    choose = chooser(0.1)
    assert all(choose() for _ in range(3))
