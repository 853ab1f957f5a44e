"""What can go wrong between the gateway and Airflow.

A fault stands between a request and its answer: it may let the request through,
before or after it does harm.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn, TypeAlias

from fakes.airflow.routes import Kind, Refusal, json_reply, refusal_reply
from fakes.airflow.wire import HangUp, Reply, Reset

Through: TypeAlias = Callable[[], Awaitable[Reply]]
"""Lets the request through and gives Airflow's answer."""

Fault: TypeAlias = Callable[[Through], Awaitable[Reply]]


def refused(status: int, detail: object = "Something is wrong") -> Fault:
    """Airflow answers with an error, and has done nothing."""

    async def fault(_: Through) -> Reply:
        return refusal_reply(Refusal(status, detail))

    return fault


def database_error() -> Fault:
    """What Airflow answers when its database is in trouble."""
    return refused(
        500,
        {
            "reason": "Database error",
            "statement": "hidden",
            "orig_error": "hidden",
            "message": "Serious error when handling your request. Check logs for more details - "
            "you will find it in api server when you look for ID abcdefgh",
        },
    )


def ill(component: str) -> Fault:
    """What Airflow's health says, with a 200, when one of its parts is not well."""

    async def fault(_: Through) -> Reply:
        parts = {part: {"status": "healthy"} for part in ("metadatabase", "scheduler", "triggerer")}
        return json_reply(parts | {component: {"status": "unhealthy"}})

    return fault


def html(status: int) -> Fault:
    """A proxy answers with a page of its own, and Airflow has not been asked."""

    async def fault(_: Through) -> Reply:
        page = b"<html><body><h1>It works, or not</h1></body></html>"
        return Reply(status, page, {"content-type": "text/html"})

    return fault


def empty() -> Fault:
    """Something answers with nothing."""
    return answered(b"")


def answered(body: bytes) -> Fault:
    """Something answers with this, and Airflow has not been asked."""

    async def fault(_: Through) -> Reply:
        return Reply(200, body)

    return fault


def garbled() -> Fault:
    """Airflow does it, and a page of a proxy takes the place of its answer."""

    async def fault(through: Through) -> Reply:
        await through()
        return await html(200)(through)

    return fault


def mixed_up(answer: object) -> Fault:
    """Airflow does it, and a cache on the way gives the answer to another request."""

    async def fault(through: Through) -> Reply:
        await through()
        return json_reply(answer)

    return fault


def redirected() -> Fault:
    """A proxy wants a login first."""

    async def fault(_: Through) -> Reply:
        return Reply(302, b"", {"location": "/login"})

    return fault


def truncated() -> Fault:
    """Airflow does it, and half of its answer arrives as if it were all."""

    async def fault(through: Through) -> Reply:
        reply = await through()
        return replace(reply, body=reply.body[: len(reply.body) // 2])

    return fault


def cut_off() -> Fault:
    """Airflow does it, and the connection breaks in the midst of its answer."""

    async def fault(through: Through) -> Reply:
        reply = await through()
        return replace(reply, cut_after=len(reply.body) // 2)

    return fault


def stalled() -> Fault:
    """Airflow does it, and half of its answer arrives, and then no more."""

    async def fault(through: Through) -> Reply:
        reply = await through()
        return replace(reply, cut_after=len(reply.body) // 2, stalls=True)

    return fault


def padded(lines: int) -> Fault:
    """A log has so many lines more, of 100 bytes each, before its own."""

    async def fault(through: Through) -> Reply:
        reply = await through()
        line = b'{"timestamp":null,"event":"%s"}\n' % (b"." * 68)
        return replace(reply, body=line * lines + reply.body)

    return fault


def dropped() -> Fault:
    """The connection breaks before Airflow has done anything."""

    async def fault(_: Through) -> NoReturn:
        raise HangUp

    return fault


def broken() -> Fault:
    """The connection is reset before Airflow has done anything."""

    async def fault(_: Through) -> NoReturn:
        raise Reset

    return fault


def lost() -> Fault:
    """Airflow does it, and the connection breaks before its answer."""

    async def fault(through: Through) -> NoReturn:
        await through()
        raise HangUp

    return fault


def lost_after(event: asyncio.Event) -> Fault:
    """The same, and the connection breaks when the event is set."""

    async def fault(through: Through) -> NoReturn:
        await through()
        await event.wait()
        raise HangUp

    return fault


def delayed(seconds: float) -> Fault:
    """Airflow is slow to look at the request."""

    async def fault(through: Through) -> Reply:
        await asyncio.sleep(seconds)
        return await through()

    return fault


def hanging() -> Fault:
    """Nothing is done, and there is never an answer."""

    async def fault(_: Through) -> NoReturn:
        await asyncio.Event().wait()
        raise HangUp

    return fault


def held_until(event: asyncio.Event) -> Fault:
    """Airflow takes its time before it looks at the request."""

    async def fault(through: Through) -> Reply:
        await event.wait()
        return await through()

    return fault


def just_before(happening: Callable[[], object]) -> Fault:
    """Something happens in Airflow just before it looks at the request."""

    async def fault(through: Through) -> Reply:
        happening()
        return await through()

    return fault


def just_after(happening: Callable[[], object]) -> Fault:
    """Something happens in Airflow just after it has answered."""

    async def fault(through: Through) -> Reply:
        reply = await through()
        happening()
        return reply

    return fault


def with_header(name: str, value: str) -> Fault:
    """Something on the way writes a header of its own."""

    async def fault(through: Through) -> Reply:
        reply = await through()
        return replace(reply, headers={**reply.headers, name: value})

    return fault


def of_version(version: str) -> Fault:
    """Airflow says that it is of another version."""

    async def fault(_: Through) -> Reply:
        return json_reply({"version": version, "git_version": None})

    return fault


PASSING: Mapping[str, Fault] = {
    "dropped": dropped(),
    "delayed": delayed(0.2),
    "reset": broken(),
    "500": database_error(),
    "502 with a page": html(502),
    "503": refused(503),
    "429": refused(429),
    "page of a proxy": html(200),
    "truncated": truncated(),
    "answer lost": lost(),
}
"""What a network, a proxy and an Airflow in trouble do to a request now and then."""


class Storm:
    """A fault for a share of the requests, which one is left to chance."""

    def __init__(self, share: float, *, seed: int, faults: Mapping[str, Fault] = PASSING) -> None:
        """Begin; with the same seed, the dice fall the same way."""
        self.met: Counter[str] = Counter()
        """How many requests met each fault."""
        self._share = share
        self._dice = random.Random(seed)
        self._faults = faults

    async def __call__(self, through: Through) -> Reply:
        """Let a request through, or not."""
        if self._dice.random() >= self._share:
            return await through()
        name = self._dice.choice([*self._faults])
        self.met[name] += 1
        return await self._faults[name](through)


@dataclass(slots=True)
class _Rule:
    fault: Fault
    kind: Kind | None
    dag_id: str | None
    times: float


class Faults:
    """The faults that are in force, the latest first."""

    def __init__(self) -> None:
        """All is well."""
        self._rules: list[_Rule] = []

    def add(
        self,
        fault: Fault,
        kind: Kind | None = None,
        *,
        times: int | None = None,
        dag_id: str | None = None,
    ) -> None:
        """Put a fault in force.

        Args:
            fault: What goes wrong.
            kind: With which requests. Left out: with all.
            times: How often. Left out: always.
            dag_id: Only with requests about this DAG.
        """
        self._rules.insert(0, _Rule(fault, kind, dag_id, float("inf") if times is None else times))

    def clear(self) -> None:
        """All is well again."""
        self._rules.clear()

    def of(self, kind: Kind, dag_id: str | None) -> Fault | None:
        """The fault of a request, if it has one. It counts as used."""
        for rule in self._rules:
            if rule.times > 0 and rule.kind in (None, kind) and rule.dag_id in (None, dag_id):
                rule.times -= 1
                return rule.fault
        return None
