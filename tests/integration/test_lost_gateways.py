"""What the client library makes of a gateway that restarts, and of an Airflow that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from dag_inference import AsyncDagInferenceClient, Completed, DagInferenceClient, TaskFailed
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from integration.gateway import running, settings_for
from integration.waiting import eventually, first_run

DONE = [steps.finish("predict", {"a": 1}), steps.end()]
TRIES = 4
"""How often the gateway asks Airflow by itself, before it is `UNAVAILABLE`."""


class Port:
    """A port that gateways come to and go from."""

    def __init__(self, airflow: FakeAirflow) -> None:
        """Be any free one, from the first gateway on."""
        self._airflow = airflow
        self._number = 0
        self._stack = AsyncExitStack()

    @property
    def target(self) -> str:
        """Where they listen."""
        return f"127.0.0.1:{self._number}"

    async def start(self) -> None:
        """Let a gateway serve."""
        settings = settings_for(self._airflow, listen=self.target)
        gateway = await self._stack.enter_async_context(running(settings))
        self._number = gateway.serving.port
        await gateway.ready()

    async def stop(self) -> None:
        """End it, and the calls on it."""
        await self._stack.aclose()


@pytest.fixture
async def port(airflow: FakeAirflow) -> AsyncIterator[Port]:
    """A port with a gateway."""
    port = Port(airflow)
    await port.start()
    yield port
    await port.stop()


@dataclass(frozen=True, slots=True)
class Caller:
    """A client as a user has it."""

    ask: Callable[[], Awaitable[Any]]
    """Calls the DAG and gives its result."""
    is_refused: Callable[[], bool]
    """Whether the client has found its gateway gone."""


@asynccontextmanager
async def blocking(target: str) -> AsyncIterator[Caller]:
    """The blocking client, in a thread."""
    states: list[grpc.ChannelConnectivity] = []
    with DagInferenceClient(target) as client:
        client._channel.subscribe(states.append)
        yield Caller(
            lambda: asyncio.to_thread(client.invoke, "dag", timeout=30),
            lambda: grpc.ChannelConnectivity.TRANSIENT_FAILURE in states,
        )
        client._channel.unsubscribe(states.append)


@asynccontextmanager
async def with_asyncio(target: str) -> AsyncIterator[Caller]:
    """The asyncio client."""
    async with AsyncDagInferenceClient(target) as client:
        yield Caller(
            lambda: client.invoke("dag", timeout=30),
            lambda: client._channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE,
        )


@asynccontextmanager
async def as_stream(target: str) -> AsyncIterator[Caller]:
    """The asyncio client, and a stream whose end is the answer."""
    async with AsyncDagInferenceClient(target) as client:

        async def ask() -> Any:
            *_, last = [event async for event in client.stream("dag", timeout=30)]
            assert isinstance(last, Completed)
            return last.result.value

        yield Caller(
            ask, lambda: client._channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        )


every_way = pytest.mark.parametrize("way", [blocking, with_asyncio, as_stream])


@every_way
async def test_a_gateway_that_is_not_there_yet(airflow: FakeAirflow, port: Port, way: Any) -> None:
    """A call that is refused while the gateway restarts is answered by the next one."""
    dag = airflow.add(Dag("dag", script=DONE))
    async with way(port.target) as caller:
        await port.stop()
        answer = asyncio.ensure_future(caller.ask())
        await eventually(caller.is_refused)
        assert not dag.made
        await port.start()

        assert await answer == {"a": 1}

    assert len(dag.made) == 1


@every_way
async def test_a_gateway_that_goes_while_the_run_is_in_flight(
    airflow: FakeAirflow, port: Port, way: Any
) -> None:
    """The call goes on with its run at the next gateway, and nothing is triggered again."""
    dag = airflow.add(Dag("dag"))
    async with way(port.target) as caller:
        answer = asyncio.ensure_future(caller.ask())
        run = await first_run(dag)
        await eventually(lambda: airflow.count(Kind.INSTANCES) > 3)
        await port.stop()
        run.finish("predict", {"a": 1})
        await port.start()

        assert await answer == {"a": 1}

    assert len(dag.made) == airflow.count(Kind.TRIGGER) == 1


@every_way
async def test_airflow_away_before_the_run(airflow: FakeAirflow, port: Port, way: Any) -> None:
    """UNAVAILABLE before a run exists is repeated, and exactly one run is made."""
    dag = airflow.add(Dag("dag", script=DONE))
    airflow.faults.add(faults.refused(503), Kind.DAG, times=TRIES)

    async with way(port.target) as caller:
        assert await caller.ask() == {"a": 1}

    assert len(dag.made) == airflow.count(Kind.TRIGGER) == 1
    assert airflow.count(Kind.DAG) > TRIES


@every_way
async def test_airflow_away_at_the_trigger(airflow: FakeAirflow, port: Port, way: Any) -> None:
    """UNAVAILABLE of a trigger that was done, though nobody knows: its run is the only one."""
    dag = airflow.add(Dag("dag", script=DONE))
    airflow.faults.add(faults.lost(), Kind.TRIGGER, times=TRIES)

    async with way(port.target) as caller:
        assert await caller.ask() == {"a": 1}

    assert len(dag.made) == 1
    assert airflow.count(Kind.TRIGGER) == TRIES + 1


@every_way
async def test_a_run_that_failed(airflow: FakeAirflow, port: Port, way: Any) -> None:
    """ABORTED is the answer: nothing is triggered again."""
    dag = airflow.add(Dag("dag", script=[steps.fail("predict"), steps.end("failed")]))

    async with way(port.target) as caller:
        with pytest.raises(TaskFailed) as caught:
            await caller.ask()

    assert [run.run_id for run in dag.made] == [caught.value.run_id]
    assert airflow.count(Kind.TRIGGER) == 1


async def test_equal_calls_are_calls_of_their_own(airflow: FakeAirflow, port: Port) -> None:
    """A second call with the same conf is another call, and makes another run."""
    dag = airflow.add(Dag("dag", script=DONE))
    async with AsyncDagInferenceClient(port.target) as client:
        await asyncio.gather(*(client.invoke("dag", {"n": 1}, timeout=30) for _ in range(10)))
    assert len(dag.made) == 10
