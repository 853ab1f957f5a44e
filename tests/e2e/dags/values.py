"""A DAG that returns a value of each kind that Airflow can store."""

import dataclasses
import datetime
import decimal
import uuid
import zoneinfo

import attrs
import numpy as np
import pendulum
import pydantic
from airflow.sdk import dag, get_current_context, task

NOON = datetime.datetime(2026, 7, 1, 12, 0, 0, 250000)
UTC = datetime.UTC


@dataclasses.dataclass
class Line:
    """A dataclass, with what JSON has no word for in it."""

    sku: str
    price: decimal.Decimal
    at: datetime.datetime


@attrs.define
class Point:
    """An attrs class."""

    x: int
    pair: tuple


class Order(pydantic.BaseModel):
    """A pydantic model."""

    sku: str
    at: datetime.datetime


class Own:
    """A class with a serializer of its own."""

    def serialize(self):
        return {"inner": (1, 2)}


VALUES = {
    "utc": lambda: NOON.replace(tzinfo=UTC),
    "zone": lambda: NOON.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    "offset": lambda: NOON.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
    "pendulum": lambda: pendulum.datetime(2026, 7, 1, 12, tz="America/New_York"),
    "date": NOON.date,
    "duration": lambda: datetime.timedelta(minutes=1, milliseconds=500),
    "decimal": lambda: decimal.Decimal("12.50"),
    "uuid": lambda: uuid.UUID(int=7),
    "tuple": lambda: (1, (2, 3)),
    "set": lambda: {1},
    "frozenset": lambda: frozenset({"a"}),
    "numpy_integer": lambda: np.int64(3),
    "numpy_float": lambda: np.float64(2.5),
    "numpy_bool": lambda: np.bool_(True),
    "numpy_list": lambda: np.arange(4).reshape(2, 2).tolist(),
    "dataclass": lambda: Line("TEA", decimal.Decimal("4.95"), NOON.replace(tzinfo=UTC)),
    "attrs": lambda: Point(1, (2, 3)),
    "pydantic": lambda: Order(sku="TEA", at=NOON.replace(tzinfo=UTC)),
    "own": Own,
    "null": lambda: {"a": None},
    "empty_key": lambda: {"": ""},
    "unicode": lambda: "é 漢字 🐘",
    # Airflow stores none beyond 64 bits.
    "large_integer": lambda: [2**53 - 1, 2**53, 2**64 - 1, -(2**63)],
    "float": lambda: [1.0, 0.1, 1e300, 5e-324],
    "nested": lambda: {"list": [(1, {"at": NOON.replace(tzinfo=UTC)})]},
    "keys": lambda: {f"key.{number}": number for number in range(10_000)},
}


@dag(schedule=None, params={"names": None}, tags=["result:give"])
def values():
    @task
    def give():
        names = get_current_context()["params"]["names"]
        return {name: VALUES[name]() for name in names or VALUES}

    give()


@dag(schedule=None, params={"length": 0}, tags=["result:square"])
def empty_map():
    @task
    def numbers():
        return list(range(get_current_context()["params"]["length"]))

    @task
    def square(number):
        return number * number

    square.expand(number=numbers())


@dag(schedule=None, params={"size": 1_000_000}, tags=["result:give"])
def large_value():
    @task
    def give():
        return "x" * get_current_context()["params"]["size"]

    give()


values()
empty_map()
large_value()
