"""Whether Airflow may have done what it was asked for and has not confirmed."""

from __future__ import annotations


class Doubt:
    """Whether there is any: a request was sent, and not answered."""

    __slots__ = ("is_open",)

    def __init__(self) -> None:
        """Nothing was asked for."""
        self.is_open = False
