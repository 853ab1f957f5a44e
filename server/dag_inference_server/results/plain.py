"""Airflow's envelopes, opened: what a task returned as a JSON client expects it.

Airflow wraps what JSON has no word for as `{"__classname__": …, "__version__": …,
"__data__": …}` (`airflow/sdk/serde`, 3.3), and its REST API hands that over as it is. Classes
are told by name alone and never loaded.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from dag_inference_server.results.struct import Json

_CLASS, _VERSION, _DATA = "__classname__", "__version__", "__data__"
_DATETIMES = {"datetime.datetime", "pendulum.datetime.DateTime"}
_DECIMAL = "decimal.Decimal"
_TWENTY_DIGITS = re.compile(rb"[0-9]{20}")
_NONE, _MINUTE = timedelta(0), timedelta(minutes=1)


def read_plain(text: bytes) -> Any:
    """Read JSON, exactly, with every envelope in it opened.

    | What was returned | What comes of it |
    |---|---|
    | `datetime` | its instant as RFC 3339 text with its zone's offset; UTC where it had none |
    | `date`, `UUID` | text |
    | `timedelta` | seconds, as a number |
    | `Decimal` | its digits, as text |
    | `tuple`, `set`, `frozenset` | a list |
    | a number of numpy | that number |
    | a float of 20 digits and more before the point | that float, however it is written |
    | any other class: dataclass, attrs, pydantic, with a `serialize` of its own | its data |

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested about a thousand levels deep.
    """
    # A call for each integer is dear: only where there is one so long.
    parse_int = _integer if _TWENTY_DIGITS.search(text) else None
    return json.loads(text, object_hook=_opened, parse_int=parse_int)


def _integer(digits: str) -> int | float:
    """An integer, or the float that PostgreSQL writes without its exponent.

    A task can return no integer beyond 64 bits (msgpack, between it and Airflow, has none), but
    1e300 well enough, of which JSONB keeps the digits.
    """
    value = int(digits)
    if -(2**63) <= value < 2**64:
        return value
    number = float(digits)
    return number if Decimal(repr(number)) == value else value


def _opened(document: dict[str, Any]) -> Json:
    """The data of an envelope, in which every other is open already; other objects as they are."""
    # Airflow does not serialize a dict with such a key, so that no author's own looks like it.
    if _CLASS not in document or document.keys() - {_CLASS, _VERSION, _DATA}:
        return document
    data: Json = document.get(_DATA)
    match document[_CLASS], data:
        case name, {"timestamp": int() | float() as timestamp, "tz": zone} if name in _DATETIMES:
            return _moment(timestamp, zone) or data
        case name, int() | float() if name == _DECIMAL:
            return str(Decimal(repr(data)))
        case _:
            return data


def _moment(timestamp: float, zone: Json) -> str | None:
    try:
        moment = datetime.fromtimestamp(timestamp, _zone(zone))
        if (moment.utcoffset() or _NONE) % _MINUTE:
            # A mean solar time of before there were zones. RFC 3339 has no seconds in offsets.
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    text = moment.isoformat()
    return text.removesuffix("+00:00") + "Z" if moment.tzname() == "UTC" else text


def _zone(zone: Json) -> tzinfo:
    """The zone; UTC where there is none, or none that is known here: the instant stays the same."""
    # Name or offset in seconds, class, version, and whether Airflow could say it at all.
    match zone:
        case [int() as offset, *_]:
            return timezone(timedelta(seconds=offset))
        case [str() as name, *_] if name:
            # Not only its own error: a name can be a folder of the database, too.
            with suppress(KeyError, ValueError, OSError):
                return ZoneInfo(name)
    return UTC
