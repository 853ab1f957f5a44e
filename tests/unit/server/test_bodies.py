"""Answers of which not all is read."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dag_inference_server.airflow.bodies import TooLong, all_of, last_of


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
    assert await last_of(pieces(*body), 4) == end


@given(body=st.lists(st.binary()), size=st.integers(min_value=1, max_value=50))
async def test_however_it_comes(body: list[bytes], size: int) -> None:
    """Pieces of any size make no difference."""
    assert await last_of(pieces(*body), size) == b"".join(body)[-size:]


@pytest.mark.parametrize("body", [[], [b"abc"], [b"ab", b"", b"cd"]])
async def test_what_fits_is_read_whole(body: list[bytes]) -> None:
    """Up to the bound, nothing is cut off."""
    assert await all_of(pieces(*body), 4) == b"".join(body)


async def test_what_does_not_fit_is_not_read_on() -> None:
    """The first piece beyond the bound ends it, however much would follow."""
    more = pieces(b"abc", b"de", b"not read")

    with pytest.raises(TooLong) as caught:
        await all_of(more, 4)

    assert caught.value.size == 5
    assert [piece async for piece in more] == [b"not read"]
