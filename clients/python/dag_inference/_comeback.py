"""Coming back to a run when the call that waits for it loses its gateway.

A channel repeats no call of which it has seen the initial metadata, and ours hold the run id:
from then on it is `Wait` or `Watch` that goes on.
"""

from __future__ import annotations

import re
from time import monotonic
from typing import TYPE_CHECKING

from grpc import StatusCode

from dag_inference._requests import patience
from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from dag_inference._calls import OnRun
    from dag_inference._requests import RunRequest
    from dag_inference.errors import DagInferenceError

_TIMES = 5
"""A call of an hour may outlive some gateways, and must not be thrown about for ever."""

_CUT_OFF = (StatusCode.INTERNAL, StatusCode.CANCELLED)
"""What gRPC makes of a call that a proxy resets because its gateway is gone. A gateway's own word
has a reason."""


_BY_A_PROXY = re.compile(r"\bstatus: 50[234]\b")
"""What gRPC says of a call that a proxy answers by itself, in HTTP, because its gateway is gone. A
channel does not repeat it: an answer has begun."""


class Comeback:
    """One call's way back to its run, within its deadline."""

    def __init__(
        self, request: RunRequest, timeout: float | None, *, allowed: Callable[[], bool]
    ) -> None:
        """Begin the call.

        Args:
            request: What is asked.
            timeout: Seconds that the whole may take; `None` for the gateway's default.
            allowed: Whether to come back at all: not once the client is closed.
        """
        self._request = request
        seconds = patience(timeout)
        self._ends = None if seconds is None else monotonic() + seconds
        self._allowed = allowed
        self._times = _TIMES
        self._run_id: str | None = None
        self._has_come_back = False

    @property
    def timeout(self) -> float | None:
        """Seconds that are left."""
        return None if self._ends is None else max(self._ends - monotonic(), 0.0)

    @property
    def waits_for_gateway(self) -> bool:
        """Whether to wait until a gateway can be reached: until the deadline, on the way back."""
        return self._ends is not None and self._has_come_back

    def exists(self, run_id: str) -> None:
        """Take in that the gateway has the run."""
        self._run_id = run_id

    def telling(self, on_run: OnRun | None) -> OnRun:
        """The same, after telling the caller, which is done once."""
        untold = on_run

        def tell(run_id: str) -> None:
            nonlocal untold
            told, untold = untold, None
            if told:
                told(run_id)
            # Not before: what the caller raises ends the call, whatever it is.
            self.exists(run_id)

        return tell

    def request_after(self, error: DagInferenceError) -> RunRequest:
        """What to ask next: for the run, or the same again, which makes no second run.

        A `request_id` of the first one sees to that.

        Raises:
            DagInferenceError: The error itself, if it is no lost gateway, or if this gateway
                never had the run: then the channel has repeated the call as often as it may.
        """
        if not self._allowed():
            raise error
        if isinstance(self._request, pb.InvokeRequest) and not error.reason:
            # It can have come with the status, in the same instant.
            self._run_id = self._run_id or error.run_id
        if self._run_id is None and self._times and _is_of_a_proxy(error):
            self._times -= 1
            return self._request
        if not _is_of_a_lost_gateway(error) or self._run_id is None or not self._times:
            raise error
        run_id, self._run_id = self._run_id, None
        self._times -= 1
        self._has_come_back = True
        self._request = pb.WaitRequest(
            dag_id=self._request.dag_id,
            run_id=run_id,
            result_task_ids=self._request.result_task_ids,
            on_deadline=self._request.on_deadline,
            on_disconnect=self._request.on_disconnect,
            result_format=self._request.result_format,
        )
        return self._request


def _is_of_a_lost_gateway(error: DagInferenceError) -> bool:
    return error.code is StatusCode.UNAVAILABLE or (not error.reason and error.code in _CUT_OFF)


def _is_of_a_proxy(error: DagInferenceError) -> bool:
    is_bare = error.code is StatusCode.UNAVAILABLE and not error.reason
    return is_bare and _BY_A_PROXY.search(error.message) is not None
