"""How much of everything is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of calls and runs, and times in seconds."""

    window: float = 15
    """How long CPU and other callers are watched."""
    in_flight: tuple[int, ...] = (10, 200, 1000)
    """Runs in flight, of which none ends."""
    intervals: tuple[float, ...] = (1, 1, 2)
    """What a caller of `/wait` would ask for with so many runs in flight."""
    news: int = 20
    """Samples of the age of the gateway's news."""
    news_by_wait: int = 5
    """Samples of the age of `/wait`'s news, each a tick long."""
    history: int = 1_000_000
    """Task instances of the past."""
    short_calls: int = 15
    """Samples of the latency of a DAG of one task."""
    long_calls: int = 3
    """Samples of the latency of a DAG that goes on after its result."""
    parked: int = 100
    """Runs in flight while the lag of detection is measured."""
    detections: int = 50
    """Samples of the lag of detection."""
    shown: int = 15
    """Samples of Airflow's own share in it."""
    requests_in_flight: tuple[int, ...] = (1, 100, 1000)
    """Calls in flight while requests to Airflow are counted."""
    throughput: float = 10
    """How long calls per second are counted."""
    concurrency: int = 50
    """Calls in flight meanwhile."""
    own_time: int = 100
    """Samples of the gateway's own time."""
    deadlines: int = 100
    """Calls for each length of deadline."""
    large: int = 3
    """Calls for each size of large values."""
    many: int = 10_000
    """Calls that are parked for their memory, and calls of one burst."""


FULL = Sizes()

QUICK = Sizes(
    window=5,
    in_flight=(5, 20, 50),
    news=4,
    news_by_wait=2,
    history=50_000,
    short_calls=3,
    long_calls=1,
    parked=10,
    detections=5,
    shown=3,
    requests_in_flight=(1, 10, 100),
    throughput=3,
    own_time=20,
    deadlines=10,
    large=1,
    many=500,
)
"""For trying the harness; its figures mean little."""
