"""What many samples of one thing say."""

from __future__ import annotations

import math
from collections.abc import Sequence


def quantile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` of all samples do not exceed.

    With less than 100 samples, that of 0.99 is the greatest.
    """
    ordered = sorted(samples)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def p50(samples: Sequence[float]) -> float:
    """The median."""
    return quantile(samples, 0.5)


def p99(samples: Sequence[float]) -> float:
    """What one sample in a hundred exceeds."""
    return quantile(samples, 0.99)
