"""What libraries have to say comes into the log, and nothing of the log comes into them."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NoReturn

import pytest
import structlog

from dag_inference_server.logs import configure, flush, tell_of_loop

HOUR = timedelta(hours=1)

CANARY = "a caller's value"


pytestmark = pytest.mark.usefixtures("logging_as_before")


@pytest.mark.parametrize(
    ("level", "told"),
    [(5, "debug"), (10, "debug"), (25, "info"), (35, "warning"), (99, "critical")],
)
def test_levels_of_a_librarys_own(level: int, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Are told as the one with a name at or below them."""
    configure("debug", "json")
    library = logging.getLogger("library.of.tests")
    library.setLevel(1)

    library.log(level, "hello")

    assert lines(capfd) == [{"level": told, "logger": "library.of.tests", "said": "hello"}]


def test_a_librarys_mistake(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that does not fit its format raises nothing there, and the log goes on."""
    # pytest turns on what is off in a service: that its own handler raises.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure("info", "json")
    library = logging.getLogger("library.of.tests")

    library.warning("%d", "no number")
    library.warning("hello")

    first, last = (json.loads(line) for line in written(capfd).splitlines())
    assert (first["logger"], first["cannot_be_told"]) == ("library.of.tests", "TypeError")
    assert last["said"] == "hello"


@pytest.mark.parametrize(("level", "told"), [("info", ["hello"]), ("warning", [])])
def test_libraries_are_heard_from_the_same_level_on(
    level: str, told: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """As `LOG_LEVEL` says."""
    configure(level, "json")

    logging.getLogger("another.library").info("hello")

    assert [line["said"] for line in lines(capfd)] == told


def written(capfd: pytest.CaptureFixture[str]) -> str:
    """All of the log."""
    flush()
    return capfd.readouterr().err


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was logged, without its time and kind."""
    logged = [json.loads(line) for line in written(capfd).splitlines()]
    return [{k: line[k] for k in ("level", "logger", "said")} for line in logged]


@pytest.mark.parametrize("character", ["\x1b", "\0", "\x9b", "\u202e", "\u2028", "\n"])
def test_what_would_steer_a_terminal(character: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Lines for people have its escape: callers name what they like."""
    configure("info")

    structlog.get_logger().info("rpc", dag_id=f"a{character}b")

    said = written(capfd)
    assert character not in said.removesuffix("\n")
    assert character.encode("unicode_escape").decode() in said


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Is told by its class, where it was raised, and what led to it; its text is a caller's."""
    configure("info", form)

    def first() -> NoReturn:
        raise KeyError(CANARY)

    def second() -> NoReturn:
        try:
            first()
        except KeyError as error:
            raise ExceptionGroup(CANARY, [ValueError(CANARY)]) from error

    try:
        second()
    except ExceptionGroup:
        structlog.get_logger().exception("failed")

    said = written(capfd)
    assert CANARY not in said
    for told in ("in first", "builtins.KeyError", "in second", "Group", "builtins.ValueError"):
        assert told in said


def test_exceptions_that_lead_to_each_other(capfd: pytest.CaptureFixture[str]) -> None:
    """Are told once."""
    configure("info", "json")
    one, other = KeyError(), ValueError()
    one.__cause__, other.__cause__ = other, one

    structlog.get_logger().error("failed", exc_info=one)

    told = json.loads(written(capfd))["exception"]
    assert told == "builtins.ValueError\nand then:\nbuiltins.KeyError"


def test_an_error_of_the_system(capfd: pytest.CaptureFixture[str]) -> None:
    """Is told by its number's name, which is no text of a caller's."""
    configure("info", "json")

    structlog.get_logger().error("failed", exc_info=OSError(errno.ENOSPC, CANARY, CANARY))

    assert json.loads(written(capfd))["exception"] == "builtins.OSError (ENOSPC)"


async def test_a_callback_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """Is told without what it was called with."""
    configure("info", "json")
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_of_loop)

    loop.call_soon(partial(int, CANARY))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    said = written(capfd)
    assert CANARY not in said
    line = json.loads(said)
    assert (line["said"], line["exception"][-10:]) == ("Exception in callback", "ValueError")


async def test_what_an_event_loop_has_to_say(capfd: pytest.CaptureFixture[str]) -> None:
    """A task whose exception nobody asked for is told without its text."""
    configure("info", "json")
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_of_loop)

    async def fail() -> NoReturn:
        raise RuntimeError(CANARY)

    task = asyncio.create_task(fail())
    await asyncio.wait((task,))
    del task
    gc.collect()

    said = written(capfd)
    assert CANARY not in said
    line = json.loads(said)
    assert (line["level"], line["logger"]) == ("error", "asyncio")
    assert "in fail" in line["exception"]


@pytest.mark.parametrize(
    "value", ["\udc80", "a\x1b[0mé\u2028", 2**70, -(2**70), 1.5, {"a": [None, True]}, {2: "x"}]
)
def test_whatever_is_logged(value: object, capfd: pytest.CaptureFixture[str]) -> None:
    """Is one line of JSON, and of a value that JSON knows nothing is lost."""
    configure("info", "json")

    structlog.get_logger().info("hello", value=value, unknown=Ellipsis)

    line, end = written(capfd).split("\n")
    assert not end
    assert json.loads(line)["unknown"] == "Ellipsis"
    assert json.loads(line)["timestamp"].endswith("Z")
    assert datetime.now(UTC) - datetime.fromisoformat(json.loads(line)["timestamp"]) < HOUR
    assert json.loads(line)["value"] == json.loads(json.dumps(value))
