"""Whether what a caller was told is true."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import StatusCode

from chaos.airflow import was_marked
from chaos.calls import Call
from chaos.truth import Fact, Truth
from dag_inference.errors import DOMAIN
from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import FakeAirflow, Run

BY_HAND = {"RUN_CANCELLED", "TASK_FAILED", "RUN_TIMED_OUT", "RESULT_SKIPPED"}
"""How it may be told that a run was ended by hand: exactly only where the event log can be read."""


class Judge:
    """Compares answers with the truth."""

    def __init__(self, fake: FakeAirflow, truth: Truth) -> None:
        """Know what was true."""
        self._fake = fake
        self._truth = truth

    def judge(self, call: Call) -> None:
        """Raise unless what the caller was told was true at some moment of the call."""
        if call.code is StatusCode.OK:
            self._check_answer(call)
        elif call.failure and call.failure.status.details:
            self._check_error(call)
        else:
            self._check_bare(call)

    def judge_at_rest(self, call: Call) -> None:
        """The same, of a call that began when nothing moved any more: there is one truth."""
        self.judge(call)
        assert call.run_id, call
        success = self._truth.holds(call.run_id, Fact.SUCCEEDED)
        marked = any(map(was_marked, self._runs(call.run_id)))
        if success and (success.value is not None or not marked):
            assert call.code is StatusCode.OK, call
        elif not success:
            assert call.failure, call
            assert call.failure.reason in (BY_HAND if marked else {"TASK_FAILED"}), call

    def _check_answer(self, call: Call) -> None:
        """A success of its run's result task, with this value, held during the call."""
        if isinstance(call.request, pb.CancelRequest):
            return
        assert call.result is not None, call
        run_id = call.result.run.run_id
        assert call.run_id == run_id, call
        self._check_own(call, run_id)
        held = self._truth.during(run_id, Fact.SUCCEEDED, call.since, call.until)
        assert call.value in [span.value for span in held], f"{call}\nbut {held}"

    def _check_error(self, call: Call) -> None:
        """It is one of ours, names the run if the caller was told of one, and is true."""
        error = call.failure
        assert error, call
        assert error.info.domain == DOMAIN, call
        run_id = error.metadata.get("run_id")
        assert call.run_id in (None, run_id), call
        if run_id is None:
            # Where it is open whether there is a run.
            assert error.reason in {"DEADLINE_EXCEEDED", "AIRFLOW_UNAVAILABLE"}, call
        else:
            self._check_own(call, run_id)
        assert self._is_true(error.reason, run_id or "", call), call

    def _is_true(self, reason: str, run_id: str, call: Call) -> bool:
        during = (call.since, call.until)
        match reason:
            case "DEADLINE_EXCEEDED":
                return True
            case "AIRFLOW_UNAVAILABLE":
                return bool(self._truth.during("", Fact.TROUBLE, *during))
            case "RUN_DELETED" | "RUN_NOT_FOUND":
                return bool(self._truth.during(run_id, Fact.DELETED, *during))
            case "TASK_FAILED" if self._truth.during(run_id, Fact.FAILED, *during):
                return True
            case _:
                return reason in BY_HAND and any(map(was_marked, self._runs(run_id)))

    def _check_bare(self, call: Call) -> None:
        """Only who went away, or whose gateway was killed, gets no word of ours.

        And who is told by its own clock, on a machine so busy that the gateway is too late.
        """
        if call.left:
            assert call.code is StatusCode.CANCELLED, call
        elif call.code is not StatusCode.DEADLINE_EXCEEDED:
            assert (call.code, call.at.killed) == (StatusCode.UNAVAILABLE, True), call

    def _check_own(self, call: Call, run_id: str) -> None:
        """It is the run that was made for the call, or for one before with its request id."""
        runs = self._runs(run_id)
        assert runs, call
        if call.name:
            assert {(run.conf or {})["call"] for run in runs} == {call.name}, call

    def check_runs(self, calls: Sequence[Call]) -> None:
        """One run for each call, and none was ended by a gateway that was not asked to."""
        by_name: dict[str, list[Run]] = {}
        for run in self._fake.made:
            by_name.setdefault((run.conf or {})["call"], []).append(run)
        for name, runs in by_name.items():
            assert len({run.run_id for run in runs}) == 1, (name, runs)
            # Who deletes a run makes room for another of the same id.
            deleted = self._truth.during(runs[0].run_id, Fact.DELETED, 0, self._truth.now())
            assert len(runs) <= 1 + len(deleted), (name, runs)
        wanted = {call.name for call in calls if call.wants_end} - {""}
        wanted |= {
            (run.conf or {})["call"]
            for call in calls
            if call.wants_end and call.run_id
            for run in self._runs(call.run_id)
        }
        noted = {
            name
            for name, runs in by_name.items()
            if any((run.note or "").startswith("dag-inference: cancelled") for run in runs)
        }
        assert noted <= wanted, noted - wanted

    def _runs(self, run_id: str) -> list[Run]:
        """The runs of that id, one after the other."""
        return [run for run in self._fake.made if run.run_id == run_id]
