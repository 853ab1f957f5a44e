"""What is wrong with a request, gathered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dag_inference.errors import RequestInvalid, Violation
from dag_inference_server.edge.check import Check


def test_gathers_no_more_than_an_error_can_tell() -> None:
    """However much is wrong, and whoever finds it: nobody is asked for more."""

    def without_end() -> Iterator[Violation]:
        while True:
            yield Violation("conf", "is wrong")

    check = Check()
    for _ in range(1000):
        check.that(False, "name", "is required")
    check.wrong(without_end())

    with pytest.raises(RequestInvalid) as refused:
        check.done()
    assert [violation.field for violation in refused.value.violations] == ["name"] * 20
