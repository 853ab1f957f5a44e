"""Which code a failed task's error has."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from dag_inference_server.airflow import TaskInstance
from dag_inference_server.failure_codes import ALLOWED, REFUSED, check_code
from dag_inference_server.invocation.exception import TaskException
from dag_inference_server.invocation.report import FailureCodes

CODES = FailureCodes(
    {"d": {"check": "FAILED_PRECONDITION"}},
    {"ValueError": "INVALID_ARGUMENT", "shop.NoSuchItem": "NOT_FOUND"},
)


def test_every_code_is_allowed_or_refused() -> None:
    """And none is both."""
    assert sorted([*ALLOWED, *REFUSED]) == sorted(code.name for code in grpc.StatusCode)


@pytest.mark.parametrize("code", sorted(ALLOWED))
def test_a_code_that_is_allowed(code: str) -> None:
    """It is taken as it is."""
    assert check_code(code) == code


@pytest.mark.parametrize("code", [*REFUSED, "INVALID", "invalid_argument", "3", ""])
def test_a_code_that_is_refused(code: str) -> None:
    """The message names it, and those to choose from."""
    with pytest.raises(
        ValueError, match=rf"^{code} is (not for failed tasks|no code of gRPC).*ABORTED"
    ):
        check_code(code)


@pytest.mark.parametrize(
    ("task_id", "raised", "code"),
    [
        ("predict", "ValueError", "INVALID_ARGUMENT"),
        ("predict", "builtins.ValueError", "INVALID_ARGUMENT"),
        ("predict", "shop.NoSuchItem", "NOT_FOUND"),
        ("predict", "NoSuchItem", None),
        ("predict", "KeyError", None),
        ("predict", None, None),
        # The task goes first.
        ("check", "ValueError", "FAILED_PRECONDITION"),
        ("check", None, "FAILED_PRECONDITION"),
    ],
)
def test_the_code_of_a_failure(
    make_instance: Callable[..., TaskInstance], task_id: str, raised: str | None, code: str | None
) -> None:
    """By its task, or else by what was raised: as the log has it, or without the module."""
    exception = None if raised is None else TaskException(raised, "")

    chosen = CODES.of(make_instance(task_id, "failed"), exception)

    assert (chosen.name if chosen else None) == code
