"""Answers of which only the end is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dag_inference_server.airflow.tail import end_of


async def pieces(*body: bytes) -> AsyncIterator[bytes]:
    """A body as it comes over a connection."""
    for piece in body:
        yield piece


@pytest.mark.parametrize(
    ("body", "end"),
    [
        ([], b""),
        ([b""], b""),
        ([b"abc"], b"abc"),
        ([b"ab", b"cd"], b"abcd"),
        ([b"abc", b"de"], b"bcde"),
        ([b"abcdef"], b"cdef"),
        ([b"a", b"bcdefg"], b"defg"),
        ([b"abcd", b"", b"e", b"f"], b"cdef"),
    ],
)
async def test_the_end_is_kept(body: list[bytes], end: bytes) -> None:
    """All of a short body, and the last four bytes of a longer one."""
    assert await end_of(pieces(*body), 4) == end


@given(body=st.lists(st.binary()), size=st.integers(min_value=1, max_value=50))
async def test_however_it_comes(body: list[bytes], size: int) -> None:
    """Pieces of any size make no difference."""
    assert await end_of(pieces(*body), size) == b"".join(body)[-size:]
