"""What a caller is told of a run that Airflow was asked for and has not confirmed."""

from __future__ import annotations

from dag_inference_server.invocation.flight import Flight


def unconfirmed(flight: Flight) -> str | None:
    """Which run that is, and what to do about it; `None` if there is none in question.

    In words alone: a run id beside them means a run that exists.
    """
    if not flight.doubt.is_open or flight.run_id is not None:
        return None
    there = f"run {flight.asked_for} may exist or not"
    if flight.has_request_id:
        return f"{there}; repeat the call with its request_id to find out"
    return (
        f"{there}; Wait finds it if it does, and the same call again would make a second one, as "
        "it has no request_id"
    )
