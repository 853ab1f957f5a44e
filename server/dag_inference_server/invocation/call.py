"""A call, what it is told on the way, and what it gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeAlias, TypeVar

from dag_inference_server.airflow import DagDetails, DagRun
from dag_inference_server.catalog.plan import Plan
from dag_inference_server.results.shape import Shaped
from dag_inference_server.results.struct import Json
from dag_inference_server.watcher import Snapshot


class ResultFormat(StrEnum):
    """In which form the caller wants its result."""

    STRUCT = "struct"
    JSON = "json"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a caller wants of a run, checked for form."""

    dag_id: str
    result_task_ids: tuple[str, ...] = ()
    """The result tasks that the caller names, if it does."""
    result_format: ResultFormat = ResultFormat.STRUCT
    patience: float
    """Seconds until the answer has to be ready."""
    last_look: float
    """Seconds that may pass after that on finding out where the run stands; 0 for none."""
    limited_by: str | None = None
    """The gateway's setting that the patience is by; `None` for the caller's deadline."""
    cancel_on_deadline: bool = False
    """Whether the run is ended when the patience is."""
    cancel_on_disconnect: bool = False
    """Whether the run is ended when the caller goes away."""


class Fitting(Protocol):
    """What of a call depends on what its DAG is."""

    def conf(self, dag: DagDetails) -> Mapping[str, Json]:
        """The conf, where the caller's own words are poorer than JSON.

        Raises:
            RequestInvalid: They have no meaning for this DAG.
        """

    def can_mean(self, conf: Mapping[str, Json]) -> bool:
        """Whether an earlier call of the same words had this conf, whatever its DAG took then."""

    def check(self, dag: DagDetails) -> None:
        """Make sure that the DAG is the one that the caller means.

        Raises:
            RequestInvalid: It is not. No run is made, but that of an earlier call is waited for.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Wanted):
    """A run that is to be made."""

    conf: Mapping[str, Json]
    fitting: Fitting | None = None
    """Makes the conf anew once the DAG is known; `None` if it is what it is."""
    is_large: bool = False
    """Whether work on the conf takes so long that other calls must not wait for it."""
    request_id: str | None = None
    """The idempotency key; `None` for a run of its own."""
    run_timeout: timedelta | None = None
    """How long the run may take; `None` for no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment(Wanted):
    """A run that is to be waited for."""

    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """A run that is to be ended."""

    dag_id: str
    run_id: str
    comment: str
    patience: float
    """Seconds until the answer has to be ready."""
    limited_by: str | None = None
    """As for `Wanted`."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The run exists."""

    run: DagRun
    attached: bool
    """Whether it existed before this call."""
    plan: Plan


@dataclass(frozen=True, slots=True)
class ResultReference:
    """Where one value lies."""

    task_id: str
    map_index: int
    """-1 for a task that is not mapped."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a call went; `None` for what is not known, or was not reached."""

    admission: timedelta
    trigger: timedelta | None
    queued: timedelta | None
    running: timedelta | None
    detection: timedelta | None
    value_read: timedelta | None
    unattributed: timedelta | None
    total: timedelta
    ended_at: datetime | None
    """When the last of Airflow's own stages had ended, by its clock."""

    def stages(self, translation: timedelta | None = None) -> dict[str, timedelta]:
        """What is known, by the names that the contract, the log and the metrics have for it.

        The translation, which comes on top of the total, is the last stage of a call.
        """
        stages = {
            "admission": self.admission,
            "trigger": self.trigger,
            "queued": self.queued,
            "running": self.running,
            "detection": self.detection,
            "value_read": self.value_read,
            "translation": translation,
            "unattributed": self.unattributed,
        }
        return {stage: span for stage, span in stages.items() if span is not None}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a call."""

    run: DagRun
    result: Shaped | None
    """`None` when only references were asked for."""
    references: tuple[ResultReference, ...]
    timing: Timing
    bytes_read: int = 0
    """How much JSON the result was, as Airflow handed it over."""


def what_passed(seconds: float, limited_by: str | None) -> str:
    """What has ended a wait of so many seconds, and that it has.

    Args:
        seconds: The patience of the call.
        limited_by: The gateway's setting that it is by; `None` for the caller's deadline.
    """
    # Never as 1e+06.
    limit = f"the gateway's limit of {seconds:.10g} s ({limited_by})"
    return f"{limit if limited_by else 'the deadline'} passed"


T = TypeVar("T")
Translate: TypeAlias = Callable[[Outcome], Awaitable[T]]
"""Makes the answer of an outcome, which is the call's last stage. May raise errors of the
contract."""


class Listener(Protocol):
    """What a call is told on the way. Methods return at once or nearly so."""

    every_state: bool
    """Whether states on the way are wanted, beside the final ones."""

    async def accepted(self, event: Accepted) -> None:
        """The run exists."""

    def changed(self, snapshot: Snapshot) -> None:
        """Something of the run has changed. The newest snapshot replaces all before it."""

    def failed(self, timing: Timing) -> None:
        """The call ends with an error, and this is where its time went."""
