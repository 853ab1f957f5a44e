"""Count primes: split the work, do the parts side by side, join them.

`ranges` cuts the numbers up to the limit into chunks, `count` is mapped over them (one task
instance each) and sieves its own, `total` waits for them all and adds up.

**conf** (all optional)

- `limit`: count the primes up to and including this number, 10 to 5,000,000. Default: 100,000.
- `chunks`: into how many parts to split the work, 1 to 32. Default: 4.

**result**, for `{"limit": 100, "chunks": 2}`

    {
      "limit": 100,
      "primes": 25,
      "largest": 97,
      "chunks": [
        {"start": 2, "stop": 51, "primes": 15, "largest": 47},
        {"start": 51, "stop": 101, "primes": 10, "largest": 97}
      ]
    }

A chunk holds the numbers from `start` up to, but not including, `stop`. Its `largest` is null if
there is no prime in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from airflow.sdk import Param, dag, get_current_context, result, task


def sieve(start: int, stop: int) -> list[int]:
    """List the primes from `start` (2 or more) up to, but not including, `stop`."""
    root = math.isqrt(stop - 1)
    divisors = sieve(2, root + 1) if root >= 2 else []
    is_prime = bytearray([1]) * (stop - start)
    for p in divisors:
        first = max(p * p, -(-start // p) * p)
        is_prime[first - start :: p] = bytes(len(range(first, stop, p)))
    return [start + i for i, prime in enumerate(is_prime) if prime]


@task
def ranges() -> list[list[int]]:
    """Cut the numbers from 2 to the limit into chunks of about the same size."""
    params = get_current_context()["params"]
    numbers = int(params["limit"]) - 1
    chunks = min(int(params["chunks"]), numbers)
    edges = [2 + numbers * i // chunks for i in range(chunks + 1)]
    return [[start, stop] for start, stop in pairwise(edges)]


# multiple_outputs=False: one XCom holds the whole dict, rather than one more XCom for each key.
@task(multiple_outputs=False)
def count(bounds: list[int]) -> dict[str, Any]:
    """Count the primes of one chunk."""
    start, stop = bounds
    primes = sieve(start, stop)
    return {
        "start": start,
        "stop": stop,
        "primes": len(primes),
        "largest": primes[-1] if primes else None,
    }


@result
@task(multiple_outputs=False)
def total(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up the chunks. They come in the order of `ranges`, whichever was done first."""
    counted = list(chunks)
    return {
        "limit": counted[-1]["stop"] - 1,
        "primes": sum(chunk["primes"] for chunk in counted),
        "largest": max(chunk["largest"] for chunk in counted if chunk["primes"]),
        "chunks": counted,
    }


@dag(
    dag_id="count_primes",
    description="Count the primes up to a limit, in chunks that are counted side by side.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=16,
    tags=["example"],
    params={
        "limit": Param(
            100_000,
            description="Count the primes up to and including this number",
            type="integer",
            minimum=10,
            maximum=5_000_000,
        ),
        "chunks": Param(
            4,
            description="Into how many parts to split the work",
            type="integer",
            minimum=1,
            maximum=32,
        ),
    },
)
def count_primes() -> None:
    """Wire the tasks: ranges, one count for each range, total."""
    bounds = ranges()
    counted = count.expand(bounds=bounds)
    total(counted)


count_primes()
