"""The scale of the histograms of times."""

from __future__ import annotations

_STEP = 1.24

BUCKETS = (
    *(0.005, 0.01, 0.025),
    *(float(f"{0.05 * _STEP**number:.3g}") for number in range(34)),
    *(120.0, 300.0, 600.0),
)
"""Upper bounds, from 5 ms to 10 min. From 50 ms to 60 s each is at most a quarter more than the one
before, and so is any quantile that is read off between two than the true one."""
