"""Waiting on conditions: what a test does instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = 90, *, every: float = 0.1) -> T:
    """Wait until something holds, and give what it gives."""
    give_up = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up, f"it does not come to hold: {condition}"
        time.sleep(every)
    return value
