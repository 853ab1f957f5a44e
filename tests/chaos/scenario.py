"""One seeded story of calls, runs and mishaps.

Not hypothesis's state machine: the gateway is a process of its own and goes on between two steps,
so that no failure would come back while it is being shrunk. A seed gives the same steps again, and
the story that is told with a failure what they met.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import grpc
from google.protobuf.duration_pb2 import Duration

from chaos import calls
from chaos.airflow import CHAIN, PLAIN, ChaoticAirflow
from chaos.calls import Call, Generation, Request, as_inference
from chaos.happened import happened
from chaos.judge import Judge
from chaos.truth import Truth
from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import FakeAirflow
from gateway_process import GatewayProcess
from integration.waiting import PATIENCE, eventually

SHORT, LONG = (0.5, 1.0, 2.0), 100.0
"""Deadlines, in seconds: some that pass, and one that does not."""

RUN_TIMEOUT = 1
"""Seconds that some runs may take."""

_DOWN = 25
"""Steps at most without a gateway, however slowly one starts."""

_AT_ONCE = 60
"""Calls in flight at most."""

Step: TypeAlias = Callable[[], Awaitable[object]]


class Scenario:
    """What happens, and what is to be made of it."""

    def __init__(self, seed: int, fake: FakeAirflow, process: GatewayProcess) -> None:
        """Throw the dice of this seed."""
        self._dice = random.Random(seed)
        self._truth = Truth()
        self._airflow = ChaoticAirflow(fake, self._truth, self._dice)
        self._judge = Judge(fake, self._truth)
        self._process = process
        self._stack = AsyncExitStack()
        self._number = 0
        self._requests: list[pb.InvokeRequest] = []
        """Those with a request id, to be repeated."""
        self._restarting: asyncio.Task[None] | None = None
        self._calming: asyncio.Task[None] | None = None
        self._following: set[asyncio.Task[None]] = set()
        self.calls: list[Call] = []
        self.story: list[str] = []

    async def play(self, steps: int, restarts: int) -> None:
        """Let so many things happen, and end the gateway so often in the midst of it.

        It is killed, the next one is told to end, and so on; and once there is trouble, and once
        Airflow is away.
        """
        self._at = await self._connected()
        table: list[tuple[float, Step]] = [
            (60, self._move),
            (14, self._invoke),
            (6, self._repeat),
            (10, self._come_back),
            (2, self._cancel),
            (5, self._leave),
            (4, self._meddle),
            (0.5, self._trouble),
            (0.2, self._away),
            (2, self._calm),
        ]
        weights, happenings = zip(*table, strict=True)
        # The last gateway has twice the time of others: what it is to do can be seen in the end.
        part = steps // (restarts + 2)
        sure: dict[int, Step] = {part // 4: self._trouble, part // 2: self._away}
        for number, end in zip(range(1, restarts + 1), itertools.cycle((self._kill, self._drain))):
            sure |= {part * number: end, part * number + _DOWN: self._back}
        for number in range(steps):
            if number in sure:
                await sure[number]()
            (happening,) = self._dice.choices(happenings, weights)
            await happening()
            # Time passes in Airflow, too.
            await asyncio.sleep(self._dice.uniform(0, 0.03))

    async def settle(self) -> None:
        """Let everything come to its end, and judge what every caller was told."""
        await self._back()
        self._no_calm()
        await self._airflow.calm()
        # Nothing but a gateway ends runs until those are ended that their callers wanted ended.
        await eventually(lambda: all(c.ended.is_set() or c.patience == LONG for c in self.calls))
        await self._paid()
        await self._all_ended()
        for call in self.calls:
            self._judge.judge(call)
            # What has come to its end in time has another answer.
            late = call.code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert not late or call.patience in SHORT, call
        self._judge.check_runs(self.calls)

    async def ask_again(self) -> None:
        """Now that nothing moves: every run, and every request id, has one answer."""
        asked: list[tuple[str, Request]] = [("Invoke", request) for request in self._requests]
        asked += [
            ("Wait", pb.WaitRequest(dag_id=run.dag.dag_id, run_id=run.run_id))
            for run in self._airflow.runs
        ]
        before = len(self.calls)
        for at in range(0, len(asked), _AT_ONCE):
            for one in asked[at : at + _AT_ONCE]:
                self._call(*one, LONG)
            await self._all_ended()
        for call in self.calls[before:]:
            self._judge.judge_at_rest(call)
        self._judge.check_runs(self.calls)

    async def _paid(self) -> None:
        """Wait until the gateway has ended what it is to end."""
        give_up = self._truth.now() + PATIENCE
        while owed := [*self._judge.owed(self.calls)]:
            assert self._truth.now() < give_up, owed
            await asyncio.sleep(0.2)

    async def _all_ended(self) -> None:
        """Wait until every call has ended, while runs only come to their ends."""
        async with asyncio.timeout(60):
            while self._following:
                # Some are made only now: a trigger had to be repeated, or a run was deleted.
                for run in self._airflow.runs:
                    self._airflow.bring_to_end(run)
                await asyncio.wait(self._following, timeout=0.1)

    # What happens

    async def _move(self) -> None:
        self._tell(self._airflow.move())

    async def _invoke(self) -> None:
        self._number += 1
        number = self._number
        request = pb.InvokeRequest(dag_id=self._dice.choice((PLAIN, CHAIN)), **self._options())
        if self._dice.random() < 0.2:
            request.run_timeout.CopyFrom(Duration(seconds=RUN_TIMEOUT))
        request.conf["call"] = f"call-{number}"
        if self._dice.random() < 0.5:
            request.request_id = f"request-{number}"
            self._requests.append(request)
        self._make_run(request)

    async def _repeat(self) -> None:
        if self._requests:
            self._make_run(self._dice.choice(self._requests[-20:]))

    def _make_run(self, request: pb.InvokeRequest) -> None:
        if self._dice.random() < 0.2:
            self._make("ModelInfer", as_inference(request))
        else:
            self._make(self._either("Invoke", "InvokeStream"), request)

    async def _come_back(self) -> None:
        if runs := self._airflow.fake.made[-20:]:
            run = self._dice.choice(runs)
            request = pb.WaitRequest(dag_id=run.dag.dag_id, run_id=run.run_id, **self._options())
            self._make(self._either("Wait", "Watch"), request)

    async def _cancel(self) -> None:
        if runs := self._airflow.runs[-20:]:
            run = self._dice.choice(runs)
            request = pb.CancelRequest(dag_id=run.dag.dag_id, run_id=run.run_id)
            self._call("Cancel", request, LONG)

    async def _leave(self) -> None:
        if in_flight := [call for call in self.calls if not call.ended.is_set()]:
            call = self._dice.choice(in_flight)
            self._tell(f"left {call.method} {call.name or call.run_id}")
            call.leave()

    async def _meddle(self) -> None:
        self._airflow.meddle()

    async def _trouble(self) -> None:
        self._tell("trouble")
        self._no_calm()
        self._airflow.trouble(self._dice.choice((0.1, 0.4)))

    async def _away(self) -> None:
        self._tell("away")
        self._no_calm()
        await self._airflow.away()

    async def _calm(self) -> None:
        if self._calming is None or self._calming.done():
            self._tell("calm")
            self._calming = asyncio.create_task(self._airflow.calm())

    def _no_calm(self) -> None:
        """It was not over yet."""
        if self._calming:
            self._calming.cancel()

    async def _kill(self) -> None:
        await self._end("killed")
        self._at.is_killed = True
        await self._process.kill()
        self._restarting = asyncio.create_task(self._restart())

    async def _drain(self) -> None:
        await self._end("drained")
        self._process.signal()
        self._restarting = asyncio.create_task(self._restart_after_drain())

    async def _back(self) -> None:
        if self._restarting:
            await self._restarting

    async def _end(self, how: str) -> None:
        await self._back()
        self._tell(how)
        self._at.gone = self._truth.now()

    async def _restart_after_drain(self) -> None:
        assert await self._process.ended() == 0
        self._tell("gone")
        await self._restart()

    async def _restart(self) -> None:
        await self._process.start()
        self._at = await self._connected()
        self._tell("started")

    # Calls

    def _options(self) -> Mapping[str, Any]:
        options: dict[str, Any] = {}
        if self._dice.random() < 0.5:
            options["on_deadline"] = pb.ON_DEADLINE_CANCEL
        if self._dice.random() < 0.5:
            options["on_disconnect"] = pb.ON_DISCONNECT_CANCEL
        return options

    def _either(self, unary: str, stream: str) -> str:
        return self._dice.choice((unary, stream))

    def _make(self, method: str, request: Request) -> None:
        """Make a call, unless there are enough."""
        # Who calls while nobody serves learns little.
        is_worth_it = self._at.gone is None or self._dice.random() < 0.1
        if len(self._following) < _AT_ONCE and is_worth_it:
            patience = LONG if self._dice.random() < 0.6 else self._dice.choice(SHORT)
            self._tell(f"{method} within {patience}: {' '.join(str(request).split())}")
            self._call(method, request, patience)

    def _call(self, method: str, request: Request, patience: float) -> None:
        call = calls.start(method, request, patience, self._at)
        self.calls.append(call)
        following = asyncio.create_task(call.follow())
        self._following.add(following)
        following.add_done_callback(self._following.discard)

    async def _connected(self) -> Generation:
        # With a pool of its own, a channel knows nothing of how the one before failed.
        channel = grpc.aio.insecure_channel(
            self._process.target, [("grpc.use_local_subchannel_pool", 1)]
        )
        return Generation(await self._stack.enter_async_context(channel))

    def _tell(self, what: str) -> None:
        self.story.append(f"{self._truth.now():.3f} {what}")

    @property
    def happened(self) -> Counter[str]:
        """How often there was what in it, by the names of `happened.py`."""
        return happened(self.calls, self.story, self._truth)

    async def close(self) -> None:
        """End what is under way."""
        for task in (self._restarting, self._calming, *self._following):
            if task and not task.done():
                task.cancel()
        await self._stack.aclose()


@asynccontextmanager
async def scenario(
    seed: int, fake: FakeAirflow, process: GatewayProcess
) -> AsyncIterator[Scenario]:
    """A scenario; of one that fails, the story is told."""
    made = Scenario(seed, fake, process)
    try:
        yield made
    except BaseException:
        print(f"seed {seed}", *made.story, *made.calls, sep="\n")
        raise
    finally:
        await made.close()
