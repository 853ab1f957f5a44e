"""What the status of an answer means: granted, or why not."""

from __future__ import annotations

from dag_inference.errors import AirflowUnavailable
from dag_inference_server.airflow.answer import RETRY_AFTER, Answer


class NotFound(Exception):
    """Airflow has no such thing, or hides it from the account."""


class _NotTriggered(Exception):
    """Airflow has answered a trigger, and made no run then."""

    was_repeated: bool = False
    """Whether it was sent more than once, so that it may have made the run before."""


class RunExists(_NotTriggered):
    """The DAG has a run of that id already."""


class Refused(_NotTriggered):
    """Airflow understood the request and will not do it. The message is Airflow's."""


def granted(answer: Answer) -> Answer:
    """The answer, if it grants what was asked.

    Raises:
        NotFound: There is no such thing.
        AirflowUnavailable: Something else answers, or another Airflow than we know.
    """
    if answer.status < 300:
        return answer
    detail = answer.detail
    # "Not Found" alone is what a web framework says of a path that it does not know.
    if answer.status == 404 and detail not in ("", "Not Found"):
        raise NotFound(detail)
    # Airflow refuses none of our requests but triggers, and always says why: a proxy
    # in between, a wrong address, or another version.
    raise AirflowUnavailable(
        f"Airflow answers {answer.status}, which the gateway does not understand",
        retry_after=RETRY_AFTER,
    )


def unless_refused(answer: Answer) -> Answer:
    """The answer to a trigger, which Airflow may well refuse.

    Raises:
        RunExists: There is one of that id.
        Refused: For any other reason.
        NotFound, AirflowUnavailable: As `granted`.
    """
    if answer.status == 409 and answer.detail:
        raise RunExists(answer.detail)
    if answer.status in (400, 422) and answer.detail:
        raise Refused(answer.detail)
    return granted(answer)
