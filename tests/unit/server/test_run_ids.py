"""Run ids are chosen before the trigger, so that a trigger can be repeated."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dag_inference_server.invocation.run_ids import RunIds

AIRFLOW_TAKES = re.compile(r"^[A-Za-z0-9_.~:+-]+$")
"""`airflow/models/dagrun.py`, 3.3."""


@given(st.text(), st.none() | st.text())
def test_every_run_id_is_one_that_airflow_takes(dag_id: str, request_id: str | None) -> None:
    """Whatever the request id holds, and short enough for Airflow's column of 250."""
    run_id = RunIds("grpc").make(dag_id, request_id)

    assert AIRFLOW_TAKES.match(run_id)
    assert re.fullmatch(r"grpc-[0-9a-f]{32}", run_id)


def test_a_request_id_names_one_run() -> None:
    """In every replica with the prefix, and after a restart."""
    assert RunIds("grpc").make("dag", "42") == RunIds("grpc").make("dag", "42")
    assert RunIds("grpc").make("dag", "42") == "grpc-564a4093d31e90dc7435f322a8ca6592"


def test_without_a_request_id_every_run_is_new() -> None:
    """The same call twice makes two runs."""
    assert len({RunIds("grpc").make("dag", None) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("dag", "1"), ("dag", "2")),
        (("dag1", "1"), ("dag2", "1")),
        (("a", "bc"), ("ab", "c")),
        (("a", "1:b"), ("a1:", "b")),
        (("a", ""), ("", "a")),
        (("dag", "é"), ("dag", "e\u0301")),
    ],
)
def test_different_requests_never_share_a_run(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Not by another DAG's ids, nor by ids that look alike when put together."""
    ids = RunIds("grpc")

    assert ids.make(*one) != ids.make(*other)


def test_gateways_with_other_prefixes_do_not_share_runs() -> None:
    """A request id is known to the gateways of one prefix."""
    assert RunIds("blue").make("dag", "42") != RunIds("green").make("dag", "42")


HEX = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("run_id", "is_ours"),
    [
        (f"grpc-{HEX}", True),
        (f"grpc2-{HEX}", False),
        (f"grpc-eu-{HEX}", False),
        (f"grp-{HEX}", False),
        (f"agrpc-{HEX}", False),
        (f"grpc-{HEX}0", False),
        ("grpc-by-hand", False),
        ("manual__2026-03-01", False),
        ("grpc", False),
    ],
)
def test_a_gateway_knows_its_own_runs(run_id: str, is_ours: bool) -> None:
    """By all of the id: `grpc2` and `grpc-eu` are other gateways'."""
    assert RunIds("grpc").is_ours(run_id) is is_ours
