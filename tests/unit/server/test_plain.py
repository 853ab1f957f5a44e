"""What a task returned, as a JSON client expects it: Airflow's envelopes, opened."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dag_inference_server.results.plain import read_plain


def envelope(name: str, data: Any, version: int = 1) -> dict[str, Any]:
    """What Airflow wraps the data of a class in."""
    return {"__classname__": name, "__version__": version, "__data__": data}


def plain(value: Any) -> Any:
    """What comes of a value that Airflow hands over."""
    return read_plain(json.dumps(value).encode())


def moment(timestamp: float, *zone: Any) -> dict[str, Any]:
    """A moment as Airflow wraps it, in a zone by name or offset, or in none."""
    tz = envelope("builtins.tuple", [*zone, "a.Class", 1, True]) if zone else None
    return envelope("datetime.datetime", {"timestamp": timestamp, "tz": tz}, 2)


@pytest.mark.parametrize(
    ("wrapped", "opened"),
    [
        (moment(1767225600.0, "UTC"), "2026-01-01T00:00:00Z"),
        (moment(1767225600, "UTC"), "2026-01-01T00:00:00Z"),
        (moment(1767225600.5), "2026-01-01T00:00:00.500000Z"),
        (moment(1767225600.0, "Europe/Berlin"), "2026-01-01T01:00:00+01:00"),
        (moment(1782864000.0, "Europe/Berlin"), "2026-07-01T02:00:00+02:00"),
        (moment(1767225600.0, "Europe/London"), "2026-01-01T00:00:00+00:00"),
        (moment(1767225600.0, 7200), "2026-01-01T02:00:00+02:00"),
        (moment(1767225600.0, -12600), "2025-12-31T20:30:00-03:30"),
        # As Airflow says that it has no word for the zone.
        (moment(1767225600.0, ""), "2026-01-01T00:00:00Z"),
        (moment(1767225600.0, "Atlantis/Capital"), "2026-01-01T00:00:00Z"),
        (moment(1767225600.0, "Europe"), "2026-01-01T00:00:00Z"),
        (moment(1767225600.0, "../../etc/passwd"), "2026-01-01T00:00:00Z"),
        # Before Berlin had a zone, its clocks were 53 minutes and 28 seconds ahead.
        (moment(-4000000000.0, "Europe/Berlin"), "1843-03-31T16:53:20Z"),
        (moment(1e300, "UTC"), {"timestamp": 1e300, "tz": ["UTC", "a.Class", 1, True]}),
        (
            envelope("pendulum.datetime.DateTime", {"timestamp": 0.0, "tz": None}, 2),
            "1970-01-01T00:00:00Z",
        ),
        (envelope("datetime.date", "2026-01-01", 2), "2026-01-01"),
        (envelope("datetime.timedelta", 1.5, 2), 1.5),
        (envelope("decimal.Decimal", 1.1), "1.1"),
        (envelope("decimal.Decimal", 10**18), "1" + "0" * 18),
        (envelope("decimal.Decimal", 1e-7), "1E-7"),
        (envelope("uuid.UUID", "00000000-0000-0000-0000-000000000001"), f"{UUID(int=1)}"),
        (envelope("builtins.tuple", [1, envelope("builtins.set", [2])]), [1, [2]]),
        (envelope("numpy.int64", 3), 3),
        (envelope("numpy.bool", True), True),
        (envelope("a.b.C", {"x": envelope("datetime.timedelta", 2.0, 2)}), {"x": 2.0}),
        (envelope("a.b.C", None), None),
        (envelope("os.system", ["rm"]), ["rm"]),
        # Of an unknown shape: the data, as of any other class.
        (envelope("datetime.datetime", "yesterday"), "yesterday"),
        (envelope("decimal.Decimal", "1.10"), "1.10"),
    ],
    ids=str,
)
def test_an_envelope_is_opened(wrapped: Any, opened: Any) -> None:
    """A value stands for itself, wherever it stands; classes are neither shown nor loaded."""
    assert plain(wrapped) == opened
    assert plain({"deep": [wrapped]}) == {"deep": [opened]}
    assert isinstance(plain(wrapped), type(opened))


@pytest.mark.parametrize(
    "value",
    [
        {"__data__": 1},
        {"__classname__": "a.B", "__data__": 1, "mine": 2},
        {"__version__": 1},
        {"timestamp": 1.0, "tz": None},
    ],
    ids=str,
)
def test_what_is_no_envelope_stays(value: Any) -> None:
    """An object that only resembles one is the author's own."""
    assert plain(value) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1" + "0" * 300, 1e300),
        ("-1" + "0" * 30, -1e30),
        ("179769313486231570" + "0" * 291, 1.7976931348623157e308),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("100000000000000000000", 1e20),
        # No float has these digits.
        ("18446744073709551617", 2**64 + 1),
        ("1" * 400, int("1" * 400)),
        ('"1%s"' % ("0" * 30), "1" + "0" * 30),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_float_that_a_database_wrote_out_is_one_again(written: str, value: Any) -> None:
    """Beyond 64 bits Airflow stores no integers, and PostgreSQL writes floats without exponents."""
    assert repr(read_plain(f"[{written}, 1]".encode())) == repr([value, 1])


@attrs.define
class Point:
    """A class that Airflow serializes by its attributes."""

    x: int
    at: datetime


class Order(BaseModel):
    """A class that Airflow serializes by pydantic."""

    sku: str
    price: Decimal


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("returned", "arrives"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (datetime(2026, 7, 1, 0, 0, 0, 1, tzinfo=BERLIN), "2026-07-01T00:00:00.000001+02:00"),
        # Airflow has no word for the standard library's fixed offsets.
        (datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), "2026-01-01T00:00:00Z"),
        (date(2026, 1, 1), "2026-01-01"),
        (timedelta(days=1), 86400.0),
        (Decimal("12.50"), "12.5"),
        (UUID(int=7), str(UUID(int=7))),
        ((1, (2, {3})), [1, [2, [3]]]),
        (Point(1, datetime(2026, 1, 1, tzinfo=UTC)), {"x": 1, "at": "2026-01-01T00:00:00Z"}),
        (Order(sku="TEA", price=Decimal("4.95")), {"sku": "TEA", "price": "4.95"}),
    ],
    ids=repr,
)
def test_airflow_s_own_serializer_is_understood(returned: Any, arrives: Any) -> None:
    """What Airflow's serializer makes of a Python value is read as the value."""
    from airflow.sdk.serde import serialize

    assert plain(serialize(returned)) == arrives


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_any_json_value_is_read_as_it_is(value: Any) -> None:
    """Without an envelope, nothing is touched: equal, and of the same types."""
    assert json.dumps(plain(value)) == json.dumps(value)


@given(st.datetimes(timezones=st.timezones()))
def test_every_moment_keeps_its_instant(returned: datetime) -> None:
    """To the microsecond, as far as Airflow's own number of seconds tells it."""
    from airflow.sdk.serde import serialize

    arrived = datetime.fromisoformat(plain(serialize(returned)))
    assert arrived.tzinfo is not None
    assert abs(arrived.timestamp() - returned.timestamp()) < 1e-4
