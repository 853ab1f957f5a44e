"""Where the time of a call went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dag_inference._times import span

if TYPE_CHECKING:
    from datetime import timedelta

    from dag_inference.v1 import dag_inference_pb2 as pb


@dataclass(frozen=True, slots=True)
class Timing:
    """The stages of a call, in their order. Together they are `total`.

    A stage is `None` if it did not happen or Airflow gave no stamps for it.
    """

    admission: timedelta | None
    """Until the gateway asked Airflow for the run."""
    trigger: timedelta | None
    """Until Airflow had accepted the run."""
    queued: timedelta | None
    """Until the run's first task started, by Airflow's stamps."""
    running: timedelta | None
    """Until the last result task ended, by Airflow's stamps."""
    detection: timedelta | None
    """Until the gateway knew of it."""
    value_read: timedelta | None
    """Reading the values."""
    translation: timedelta | None
    """Making a message of them."""
    unattributed: timedelta | None
    """What is left of `total`."""
    total: timedelta | None
    """From the arrival of the call until its answer was ready."""


def timing_from(message: pb.Timing) -> Timing:
    """Read a timing."""
    return Timing(
        admission=span(message, "admission"),
        trigger=span(message, "trigger"),
        queued=span(message, "queued"),
        running=span(message, "running"),
        detection=span(message, "detection"),
        value_read=span(message, "value_read"),
        translation=span(message, "translation"),
        unattributed=span(message, "unattributed"),
        total=span(message, "total"),
    )
