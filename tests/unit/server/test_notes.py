"""What a gateway writes into a run's note, every other gateway can read."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dag_inference_server.ending.notes import (
    EndedBy,
    cancelled,
    ended_by,
    limit_in,
    limited,
    timed_out,
    trace_in,
    traced,
)

LIMITS = st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=365))


@given(LIMITS)
def test_a_limit_is_read_as_it_was_written(limit: timedelta) -> None:
    """To the microsecond, from a millisecond to a year; and the run was not ended."""
    assert limit_in(limited(limit)) == limit
    assert ended_by(limited(limit)) is None


@given(LIMITS, st.text(max_size=256))
def test_who_ended_a_run_is_read_whatever_else_is_said(limit: timedelta, comment: str) -> None:
    """A run that was ended has no limit any more, and a comment changes nothing."""
    assert ended_by(cancelled("by request", comment)) is EndedBy.CANCEL
    assert ended_by(timed_out(limit)) is EndedBy.RUN_TIMEOUT
    assert limit_in(cancelled("by request", comment)) is limit_in(timed_out(limit)) is None


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@given(LIMITS, st.text(max_size=256))
def test_a_trace_stands_behind_whatever_else(limit: timedelta, comment: str) -> None:
    """It is read from every note, and changes nothing of what the rest says."""
    ended = cancelled("by request", comment)
    for note in (None, limited(limit), timed_out(limit), ended):
        told = traced(note, TRACE)
        assert trace_in(told) == TRACE
        assert (limit_in(told), ended_by(told)) == (limit_in(note), ended_by(note))
        assert traced(note, None) == note


@pytest.mark.parametrize(
    "note", [None, "", f"trace {TRACE}", f"dag-inference: trace {TRACE[1:]}", "; trace none"]
)
def test_notes_without_a_trace(note: str | None) -> None:
    """Of people, and of calls that nobody traced."""
    assert trace_in(note) is None


@pytest.mark.parametrize(
    "note",
    [
        None,
        "",
        "cancelled",
        "see dag-inference: cancelled by request",
        "dag-inference: run_timeout soon",
        "dag-inference: run_timeout 300000000000 s",
        "dag-inference: run_timeout 99999999999999999999 s",
    ],
)
def test_notes_of_people(note: str | None) -> None:
    """They say nothing to a gateway."""
    assert ended_by(note) is None
    assert limit_in(note) is None


def test_a_note_fits() -> None:
    """Airflow's notes have 1000 characters, and a comment has 256 at most."""
    assert len(cancelled("by request", "x" * 256)) < 1000
