"""What is wrong with a request, gathered to say it all at once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from dag_inference.errors import RequestInvalid, Violation

MAX_ID_BYTES = 250
"""Of DAG and task ids, as Airflow has it (`airflow.models.base.ID_LEN`)."""

_MAX_VIOLATIONS = 20
"""More than an error tells."""

# Airflow's own rule (`airflow._shared.dagnode.node.KEY_REGEX`). What it lets
# through and a URL path does not: `.` and `..`.
_ID = re.compile(r"[\w.-]+")
_REQUEST_ID = re.compile(r"[ -~]{1,128}")


def is_id(text: str) -> bool:
    """Whether it can be the id of a DAG or a task. Airflow is not asked about anything else."""
    well_formed = _ID.fullmatch(text) is not None and text not in {".", ".."}
    return well_formed and len(text.encode()) <= MAX_ID_BYTES


class Check:
    """Gathers violations: the first few, however many there are."""

    def __init__(self) -> None:
        """Nothing is wrong yet."""
        self._violations: list[Violation] = []

    def that(self, holds: bool, field: str, otherwise: str) -> None:
        """Take in what is wrong with a field, unless something holds."""
        if not holds:
            self.wrong([Violation(field, otherwise)])

    def wrong(self, violations: Iterable[Violation]) -> None:
        """Take in what is wrong, as far as it will be told."""
        self._violations += islice(violations, _MAX_VIOLATIONS - len(self._violations))

    def id(self, field: str, value: str) -> None:
        """Check the id of a DAG or a task."""
        self.that(value != "", field, "is required")
        if value:
            self.that(
                is_id(value),
                field,
                f"must be letters, digits, '_', '-' and '.', at most {MAX_ID_BYTES} bytes",
            )

    def request_id(self, field: str, value: str) -> None:
        """Check an idempotency key."""
        self.that(
            _REQUEST_ID.fullmatch(value) is not None,
            field,
            "must be 1 to 128 printable ASCII characters",
        )

    def done(self) -> None:
        """Make sure that nothing is wrong.

        Raises:
            RequestInvalid: Something is, with a violation for each field.
        """
        if self._violations:
            raise RequestInvalid(
                "; ".join(f"{v.field}: {v.description}" for v in self._violations[:5]),
                violations=self._violations,
            )
