"""JSON as text that every reader of JSON can read."""

from __future__ import annotations

import json
import math
import re
from functools import partial

from dag_inference_server.results.leaves import with_leaves
from dag_inference_server.results.struct import Json, name_of

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def to_text(value: Json) -> str:
    """Write a JSON value, without spaces.

    NaN and the infinities, for which JSON has no numbers, become texts, as in a Struct; a lone
    surrogate, which is no text, becomes its escape.

    Raises:
        RecursionError: It is nested about a thousand levels deep.
    """
    write = partial(json.dumps, allow_nan=False, separators=(",", ":"))
    try:
        text = write(value, ensure_ascii=False)
    except ValueError:
        value = with_leaves(value, _named)
        text = write(value, ensure_ascii=False)
    if not text.isascii() and _SURROGATE.search(text):
        return write(value, ensure_ascii=True)
    return text


def _named(leaf: Json) -> Json:
    """The name of what is no JSON number."""
    return name_of(leaf) if isinstance(leaf, float) and not math.isfinite(leaf) else leaf
