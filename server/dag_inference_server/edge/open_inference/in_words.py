"""Errors as one text: many clients of the protocol hand on nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy

from dag_inference.errors import DagInferenceError
from dag_inference_server.edge.status import shortened

_MAX_MESSAGE = 2000
"""Of the reason and the message in there, in bytes."""

_MAX_STATUS = 400
"""The same in a status, which has room for little more."""

_MAX_ID = 200
"""Of a request's id, likewise."""


def in_words(error: DagInferenceError, request_id: str = "", limit: int = _MAX_MESSAGE) -> str:
    """The reason and the message, the request's id if it has one, and the run if there is one."""
    asked = f" [id {shortened(request_id, _MAX_ID)}]" if request_id else ""
    run = f" [run {error.run_id}]" if error.run_id else ""
    return f"{shortened(str(error), limit)}{asked}{run}"


@contextmanager
def telling_all() -> Iterator[None]:
    """Let the message of an error that leaves the block say all that, but for the id."""
    try:
        yield
    except DagInferenceError as error:
        # Others may hold the same one.
        told = copy(error)
        told.message = in_words(error, limit=_MAX_STATUS)
        raise told from error
