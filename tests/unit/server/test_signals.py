"""What a process makes of signals to end, phase by phase."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from dag_inference_server.signals import ENDING, Signals


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Begin as without `nohup`, and leave signals as other tests want them."""
    before = {number: signal.getsignal(number) for number in ENDING}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", sorted(ENDING))
def test_before_anything_is_known(number: signal.Signals) -> None:
    """Any of them interrupts."""
    Signals()

    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.parametrize(("one", "told"), [(3600.0, 1), (0.0, 3)])
def test_several_at_once(monkeypatch: pytest.MonkeyPatch, one: float, told: int) -> None:
    """Are one: who is in a group gets what a terminal tells all, and what others hand on."""
    monkeypatch.setattr("dag_inference_server.signals._ONE", one)
    calls: list[None] = []

    with Signals().calling(lambda: calls.append(None)):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            signal.raise_signal(number)

    assert len(calls) == told


def test_a_hangup_that_is_ignored() -> None:
    """Is ignored further on: whoever used `nohup` wants the gateway to stay."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Signals()

    os.kill(os.getpid(), signal.SIGHUP)

    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
