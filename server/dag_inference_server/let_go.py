"""What has been raised and is over."""

from __future__ import annotations


def let_go(error: BaseException | None) -> None:
    """Take the frames from an exception that is over, and from those that led to it.

    Frames hold the call, and some hold what they raised: rings that only the garbage collector
    takes apart, and at what has outlived a few of its rounds it seldom looks.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
