"""The two scales of the histograms of times."""

from __future__ import annotations

_STEP = 1.24

FINE = (
    *(0.005, 0.01, 0.025),
    *(float(f"{0.05 * _STEP**number:.3g}") for number in range(34)),
    *(120.0, 300.0, 600.0),
)
"""Upper bounds, from 5 ms to 10 min. From 50 ms to 60 s each is at most a quarter more than the one
before, and so is any quantile that is read off between two than the true one."""

COARSE = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
    *(0.5, 0.7, 1.0, 1.4, 2.0, 2.5, 3.5, 5.0),
    *(10.0, 25.0, 60.0, 150.0, 300.0, 600.0),
)
"""The same range, each at most two and a half times the one before: for families of which there are
many series, and where it is enough to see which stage or request it is that grows. From 0.5 to 5 s,
where the stages of short runs are, each is at most half as much again as the one before."""
