"""What Airflow's refusal of a trigger means."""

from __future__ import annotations

import re

from dag_inference.errors import (
    ConfInvalid,
    DagBroken,
    DagInferenceError,
    DagNotTriggerable,
    RequestInvalid,
    Subject,
    Violation,
)

_PARAM_REFUSED = re.compile(r"Invalid input for param (?P<name>[^:]+): (?P<why>[^\n]+)")
"""How Airflow says that conf breaks a param (`airflow/sdk/definitions/param.py`, 3.3)."""


def refusal(dag_id: str, detail: str) -> DagInferenceError:
    """The error for what Airflow says of a trigger. No run was made."""
    subject = Subject(dag_id)
    if found := _PARAM_REFUSED.match(detail):
        violation = Violation(f"conf.{found['name']}", found["why"])
        return ConfInvalid(
            f"{violation.field}: {violation.description}",
            subject=subject,
            violations=[violation],
        )
    if "import errors" in detail:
        return DagBroken(f"the file of {dag_id} has import errors", subject=subject)
    if "does not allow manual runs" in detail:
        return DagNotTriggerable(f"{dag_id} does not allow manual runs", subject=subject)
    first_line = detail.splitlines()[0] if detail else "no reason given"
    return RequestInvalid(f"Airflow refuses the run: {first_line}", subject=subject)
