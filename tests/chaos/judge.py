"""Whether what a caller was told is true, and whether what was wanted was done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grpc import StatusCode

from chaos.airflow import was_marked
from chaos.calls import Call
from chaos.truth import Fact, Span, Truth
from dag_inference.errors import DOMAIN
from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import FakeAirflow, Run

BY_HAND = {"RUN_CANCELLED", "TASK_FAILED", "RUN_TIMED_OUT", "RESULT_SKIPPED"}
"""How it may be told that a run was ended by hand: exactly only where the event log can be read."""

BY_REQUEST = "dag-inference: cancelled by request"
AT_DEADLINE = "dag-inference: cancelled because the deadline of its call passed"
ON_LEAVING = "dag-inference: cancelled because its caller went away"
TIMED_OUT = "dag-inference: ended by its run_timeout"
"""How the notes of runs begin that gateways have ended."""

_LIMITED = "dag-inference: run_timeout"

_MAY_HAVE_NO_RUN = {"DEADLINE_EXCEEDED", "AIRFLOW_UNAVAILABLE", "SHUTTING_DOWN"}

_ITS_OWN = BY_HAND | {"RUN_DELETED", "RUN_NOT_FOUND"}
"""Errors that are the run's own. Who has got one, or a result, has no run any more to be ended."""

_MOMENT = 1.5
"""Seconds, between what is seen here and in the gateway, on a busy machine."""


class Judge:
    """Compares answers, and what gateways did, with the truth."""

    def __init__(self, fake: FakeAirflow, truth: Truth) -> None:
        """Know what was true."""
        self._fake = fake
        self._truth = truth

    # What callers were told

    def judge(self, call: Call) -> None:
        """Raise unless what the caller was told was true at some moment of the call."""
        if isinstance(call.answer, pb.CancelResponse):
            self._check_cancelled(call)
        elif call.code is StatusCode.OK:
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

    def _check_cancelled(self, call: Call) -> None:
        """The run had ended by the end of the call, and that is what the answer shows."""
        run = call.answer.run
        assert run.run_id == call.run_id, call
        assert run.state in (pb.RUN_STATE_SUCCESS, pb.RUN_STATE_FAILED), call
        assert self._truth.during(run.run_id, Fact.ENDED, call.since, call.until), call

    def _check_answer(self, call: Call) -> None:
        """A success of its run's result task, with this value, held during the call."""
        assert call.result is not None, call
        run_id, value = call.result
        assert call.run_id == run_id, call
        self._check_own(call, run_id)
        held = self._truth.during(run_id, Fact.SUCCEEDED, call.since, call.until)
        assert value in [span.value for span in held], f"{call}\nbut {held}"

    def _check_error(self, call: Call) -> None:
        """It is one of ours, names the run if the caller was told of one, and is true."""
        error = call.failure
        assert error, call
        assert error.info.domain == DOMAIN, call
        run_id = error.metadata.get("run_id")
        assert call.run_id in (None, run_id), call
        if run_id is None:
            # Where it is open whether there is a run.
            assert error.reason in _MAY_HAVE_NO_RUN, call
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
            case "SHUTTING_DOWN":
                return call.at.gone is not None and call.at.gone <= call.until
            case "RUN_DELETED" | "RUN_NOT_FOUND":
                return bool(self._truth.during(run_id, Fact.DELETED, *during))
            case "TASK_FAILED" if self._truth.during(run_id, Fact.FAILED, *during):
                return True
            case _:
                return reason in BY_HAND and any(map(was_marked, self._runs(run_id)))

    def _check_bare(self, call: Call) -> None:
        """Only who went away, or whose gateway was killed, gets no word of ours.

        And who comes when it has gone already, and who is told by its own clock, on a machine so
        busy that the gateway is too late.
        """
        if call.left:
            assert call.code is StatusCode.CANCELLED, call
        elif call.code is not StatusCode.DEADLINE_EXCEEDED:
            assert (call.code, call.at.gone is None) == (StatusCode.UNAVAILABLE, False), call
            assert call.at.is_killed or (call.told is None and self._came_late(call)), call

    def _came_late(self, call: Call) -> bool:
        assert call.at.gone is not None
        return call.since > call.at.gone - _MOMENT

    def _check_own(self, call: Call, run_id: str) -> None:
        """It is the run that was made for the call, or for one before with its request id."""
        runs = self._runs(run_id)
        assert runs, call
        if call.name:
            assert {_name(run) for run in runs} == {call.name}, call

    # What became of runs

    def check_runs(self, calls: Sequence[Call]) -> None:
        """One run for each call, and gateways ended those that they were to end, and no others."""
        by_name: dict[str, list[Run]] = {}
        for run in self._fake.made:
            by_name.setdefault(_name(run), []).append(run)
        for name, runs in by_name.items():
            run_id = runs[0].run_id
            assert {run.run_id for run in runs} == {run_id}, (name, runs)
            # Who deletes a run makes room for another of the same id.
            deleted = self._truth.during(run_id, Fact.DELETED, 0, self._truth.now())
            assert len(runs) <= 1 + len(deleted), (name, runs)
            of_run = [call for call in calls if self._name_of(call) == name]
            for end in self._truth.all_of(run_id, Fact.ENDED):
                if (end.value or "").startswith("dag-inference"):
                    self._check_end(run_id, end, of_run)

    def _check_end(self, run_id: str, end: Span, calls: Sequence[Call]) -> None:
        """Somebody wanted the run ended for the reason in its note, and nobody was in the way."""
        match str(end.value):
            case note if note.startswith(BY_REQUEST):
                wanted = [call for call in calls if call.method == "Cancel"]
            case note if note.startswith(TIMED_OUT):
                wanted = [call for call in calls if _has_limit(call)]
            case note if note.startswith(AT_DEADLINE):
                wanted = [c for c in calls if c.ends_at_deadline and _was_late(c)]
            case note if note.startswith(ON_LEAVING):
                wanted = [c for c in calls if c.ends_on_leaving and (c.left or _was_late(c))]
            case _:
                wanted = []
        before = [call for call in wanted if call.since <= end.since]
        assert before, (run_id, end, *map(str, calls))
        if " because " in str(end.value):
            under = [call for call in calls if _waits_at(call, end.since)]
            assert not under, (run_id, end, *map(str, under))

    def owed(self, calls: Sequence[Call]) -> Iterator[str]:
        """The calls, by what is to be said of them, whose runs are still to be ended.

        Not under another call, nor where that one has got what there was to get, nor by a gateway
        that has gone. What nobody can know is left out.
        """
        now = self._truth.now()
        for call in calls:
            if not self._wants_end(call) or (run := self._run_of(call, calls)) is None:
                continue
            beside = [c for c in calls if self._is_beside(c, call)]
            if any(self._may_have_got(other, run.run_id) for other in beside):
                continue
            facts = (Fact.ENDED, Fact.DELETED)
            if not any(self._truth.during(run.run_id, fact, call.since, now) for fact in facts):
                yield f"{call}: {run.run_id} is {run.state}, {run.note}"
        for run in self._fake.made:
            # Who had not got its id may have been told that there is none.
            is_known = any(c.told is not None and c.run_id == run.run_id for c in calls)
            gone = [f for f in (Fact.ENDED, Fact.DELETED) if self._truth.all_of(run.run_id, f)]
            if is_known and not gone and (run.note or "").startswith(_LIMITED):
                yield f"{run.run_id} is {run.state}, {run.note}"

    def _wants_end(self, call: Call) -> bool:
        """Whether it has ended in a way that ends its run, and its gateway is there to do that."""
        if call.method == "Cancel" or not call.ended.is_set() or call.at.gone is not None:
            return False
        if call.code is StatusCode.DEADLINE_EXCEEDED:
            return call.ends_at_deadline
        # Who leaves in the last moment is told from one whose time is over by no one.
        return call.left and call.ends_on_leaving and not _was_late(call)

    def _run_of(self, call: Call, calls: Sequence[Call]) -> Run | None:
        """The run that is surely this call's, if there is one."""
        if call.told is not None:
            return self._runs(call.run_id or "")[-1]
        alone = call.name and sum(other.name == call.name for other in calls) == 1
        runs = [run for run in self._fake.made if alone and _name(run) == call.name]
        return runs[-1] if runs else None

    def _is_beside(self, other: Call, call: Call) -> bool:
        """Whether two calls were at one gateway for one run, or one came later."""
        return (
            other.method != "Cancel"
            and other.at is call.at
            and other.until >= call.since
            and self._name_of(other) == self._name_of(call)
        )

    def _may_have_got(self, call: Call, run_id: str) -> bool:
        """Whether it waits still, or has got a result or an error that is the run's own."""
        if not call.ended.is_set() or call.code is StatusCode.OK:
            return True
        if call.failure and call.failure.reason:
            return call.failure.reason in _ITS_OWN
        # It may have been on the way to a caller that heard nothing more.
        facts = (Fact.SUCCEEDED, Fact.FAILED, Fact.ENDED, Fact.DELETED)
        return any(self._truth.during(run_id, f, call.since, call.until + _MOMENT) for f in facts)

    def _name_of(self, call: Call) -> str:
        """What the run of a call is called, also of one that makes none."""
        return call.name or next(map(_name, self._runs(call.run_id or "")), "")

    def _runs(self, run_id: str) -> list[Run]:
        """The runs of that id, one after the other."""
        return [run for run in self._fake.made if run.run_id == run_id]


def _name(run: Run) -> str:
    """The call that it was made for."""
    return str((run.conf or {})["call"])


def _has_limit(call: Call) -> bool:
    return isinstance(call.request, pb.InvokeRequest) and call.request.HasField("run_timeout")


def _was_late(call: Call) -> bool:
    """Whether its deadline may have passed."""
    is_told = call.code is StatusCode.DEADLINE_EXCEEDED
    return is_told or call.until - call.since > call.patience / 2


def _waits_at(call: Call, moment: float) -> bool:
    """Whether it surely waited for its run then, and had for a while."""
    if call.told is None or call.told > moment - _MOMENT:
        return False
    is_told_so = call.failure is not None and call.failure.reason == "RUN_CANCELLED"
    return call.until > (moment if is_told_so else moment + _MOMENT)
