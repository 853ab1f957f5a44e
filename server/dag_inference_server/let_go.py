"""What has been raised and is over."""

from __future__ import annotations


def let_go(error: BaseException | None) -> None:
    """Take the frames from an exception that is over, and from those that led to it.

    Frames hold the call, and some hold what they raised: rings that only the garbage collector
    takes apart, and at what has outlived a few of its rounds it seldom looks.
    """
    seen = set[int]()
    # What is raised anew from what it has caused leads back to itself.
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
