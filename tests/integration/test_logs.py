"""What the log tells of calls, and what it never does."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference.v1 import dag_inference_pb2_grpc as rpc
from dag_inference_server.inference import open_inference_pb2_grpc as inference_rpc
from dag_inference_server.settings import ENV_PREFIX
from fakes.airflow import Dag, FakeAirflow, Kind, faults, steps
from gateway_process import gateway_process
from integration.inference import infer, tensor
from integration.statuses import failure
from integration.waiting import eventually, first_run

CANARY = "canary-7d3f"


class Logged:
    """A gateway that logs all it can, as JSON."""

    def __init__(self, target: str, log: Path) -> None:
        """It listens there, and logs there."""
        self._log = log
        self.port = int(target.rpartition(":")[2])
        self.channel = grpc.aio.insecure_channel(target)
        self.stub = rpc.DagInferenceStub(self.channel)

    @property
    def text(self) -> str:
        """All of the log."""
        return self._log.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The lines of one kind."""
        # They come many at once, of which the last may not be all there yet.
        whole, _, _ = self.text.rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if line["event"] == event]

    async def rpc(self, call_id: str) -> dict[str, Any]:
        """The one line of the call of that name."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines("rpc") if line["call_id"] == call_id]

        (line,) = await eventually(found)
        return line


@pytest.fixture
def more() -> dict[str, str]:
    """More settings. A test that wants some parametrises this."""
    return {}


@pytest.fixture
async def logged(
    airflow: FakeAirflow, tmp_path: Path, more: dict[str, str]
) -> AsyncIterator[Logged]:
    """A gateway in a process of its own."""
    airflow.accounts.password = f"{CANARY}-password"
    settings = {
        "AIRFLOW_URL": airflow.url,
        "AIRFLOW_USERNAME": airflow.accounts.username,
        "AIRFLOW_PASSWORD": airflow.accounts.password,
        "SHUTDOWN_GRACE": "0",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
        **more,
    }
    named = {f"{ENV_PREFIX}{name}": value for name, value in settings.items()}
    log = tmp_path / "log"
    environment = {"PATH": os.environ["PATH"], **named}
    async with gateway_process(environment, log) as process:
        logged = Logged(process.target, log)
        async with logged.channel:
            yield logged


def named(call_id: str) -> list[tuple[str, str]]:
    """The metadata of a call with a name."""
    return [("x-request-id", call_id)]


async def test_one_line_a_call(airflow: FakeAirflow, logged: Logged) -> None:
    """With what it was about, how it ended and where its time went, whichever way it ended."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    airflow.add(Dag("fails", script=[steps.fail("predict")]))
    parked = airflow.add(Dag("parked"))
    stub, ok = logged.stub, pb.InvokeRequest(dag_id="dag", request_id="mine")
    answer = await stub.Invoke(ok, timeout=5, metadata=named("ok"))
    events = [event async for event in stub.InvokeStream(ok, timeout=5, metadata=named("stream"))]
    fails = pb.InvokeRequest(dag_id="fails")
    failed = await failure(stub.Invoke(fails, timeout=5, metadata=named("failed")))
    await failure(stub.Invoke(pb.InvokeRequest(), timeout=5, metadata=named("invalid")))
    await failure(stub.ListDags(pb.ListDagsRequest(page_size=-1), metadata=named("list")))
    call = stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=20, metadata=named("left"))
    run = (await eventually(lambda: parked.made))[0]
    await airflow.polls(2)
    call.cancel()

    lines = {
        call_id: await logged.rpc(call_id)
        for call_id in ("ok", "stream", "failed", "invalid", "list", "left")
    }

    told = {
        call_id: [line.get(key) for key in ("method", "code", "reason", "dag_id", "run_id")]
        for call_id, line in lines.items()
    }
    assert told == {
        "ok": ["Invoke", "OK", None, "dag", answer.run.run_id],
        "stream": ["InvokeStream", "OK", None, "dag", events[0].accepted.run.run_id],
        "failed": ["Invoke", "ABORTED", "TASK_FAILED", "fails", failed.info.metadata["run_id"]],
        "invalid": ["Invoke", "INVALID_ARGUMENT", "REQUEST_INVALID", None, None],
        "list": ["ListDags", "INVALID_ARGUMENT", "REQUEST_INVALID", None, None],
        "left": ["Invoke", "CANCELLED", None, "parked", run.run_id],
    }
    assert lines["ok"]["request_id"] == lines["stream"]["request_id"] == "mine"
    assert lines["failed"]["task_id"] == "predict"
    stages = {"admission", "trigger", "queued", "running", "detection", "value_read"}
    assert lines["ok"]["stages"].keys() >= stages | {"translation", "unattributed"}
    gone_through = {"admission", "trigger", "queued", "running", "unattributed"}
    assert lines["failed"]["stages"].keys() == gone_through
    assert not any("stages" in lines[call_id] for call_id in ("invalid", "list", "left"))
    assert all(line["level"] == "info" and line["seconds"] >= 0 for line in lines.values())
    tcp = psutil.Process().net_connections("tcp")
    connected = [c for c in tcp if c.status == psutil.CONN_ESTABLISHED]
    ours = {c.laddr.port for c in connected if c.raddr.port == logged.port}
    assert {line["peer"] for line in lines.values()} == {f"ipv4:127.0.0.1:{p}" for p in ours}


@pytest.mark.parametrize(
    "more",
    [{"MAX_CALLS_PER_DAG": "1", "DEFAULT_DEADLINE": "3", "MAX_DEADLINE": "3"}],
    ids=[""],
)
async def test_why_a_call_failed(airflow: FakeAirflow, logged: Logged) -> None:
    """As its caller was told, where it is the gateway's fault, Airflow's, or a deadline's.

    But for what refuses the account: that may quote the request.
    """
    for dag_id in ("lost", "away", "denied", "late"):
        airflow.add(Dag(dag_id))
    fails = airflow.add(Dag("fails", script=[steps.fail("predict")]))
    airflow.faults.add(faults.lost(), Kind.TRIGGER, dag_id="lost")
    airflow.faults.add(faults.refused(503), Kind.DAG, dag_id="away")
    airflow.faults.add(faults.refused(403, "Forbidden"), Kind.DAG, dag_id="denied")
    parked = airflow.add(Dag("full"))
    call = logged.stub.Invoke(pb.InvokeRequest(dag_id="full"), timeout=5)
    await eventually(lambda: parked.made)

    async def told(dag_id: str) -> tuple[str, str | None]:
        request = pb.InvokeRequest(dag_id=dag_id)
        failed = await failure(logged.stub.Invoke(request, timeout=20, metadata=named(dag_id)))
        return failed.message, (await logged.rpc(dag_id)).get("why")

    found = {
        dag_id: await told(dag_id) for dag_id in ("full", "lost", "away", "denied", "late", "fails")
    }
    call.cancel()

    assert fails.made
    assert found.pop("fails")[1] is found.pop("denied")[1] is None
    assert {dag_id: why for dag_id, (_, why) in found.items()} == {
        dag_id: message for dag_id, (message, _) in found.items()
    }
    (lost,) = (run for run in airflow.made if run.dag.dag_id == "lost")
    assert lost.run_id in found["lost"][0]
    assert "(MAX_CALLS_PER_DAG)" in found["full"][0]
    assert "(MAX_DEADLINE)" in found["late"][0]


@pytest.mark.parametrize("more", [{"POLL_INTERVAL_OLD": "0.2"}], ids=[""])
async def test_an_outage(airflow: FakeAirflow, logged: Logged) -> None:
    """Polls that fail are told once, until it is over or has another cause; so is the outage."""
    dag = airflow.add(Dag("dag"))
    call = logged.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=60)
    run = await first_run(dag)
    await airflow.polls(2)

    def told(event: str) -> list[str]:
        return [line["error"] for line in logged.lines(event)]

    def listed() -> Counter[str | None]:
        return Counter(asked.dag_id for asked in airflow.asked if asked.kind is Kind.INSTANCES)

    async def heal() -> None:
        # The runs first, as a look does: one that is under way would find only them away.
        airflow.faults.clear()
        airflow.faults.add(faults.dropped(), Kind.INSTANCES)
        before = listed()
        await eventually(lambda: all(listed()[of] > before[of] for of in ("~", "dag")))
        airflow.faults.clear()

    airflow.faults.add(faults.refused(503))
    await eventually(lambda: told("airflow_is_away"))
    airflow.faults.clear()
    airflow.faults.add(faults.dropped())
    await airflow.polls(10)
    await heal()
    await airflow.polls(2)
    (back,) = await eventually(lambda: logged.lines("airflow_is_back"))
    airflow.faults.add(faults.dropped())
    await airflow.polls(3)
    await heal()
    await airflow.polls(2)
    assert told("airflow_listing_of_runs_failed") == []
    airflow.faults.add(faults.refused(503), Kind.RUNS)
    await eventually(lambda: told("airflow_listing_of_runs_failed"))
    await airflow.polls(5)
    run.finish("predict", 1)
    await call

    status = "AIRFLOW_UNAVAILABLE: Airflow answers 503"
    broke = "AIRFLOW_UNAVAILABLE: Airflow does not answer: the connection broke"
    assert told("airflow_poll_failed") == [status, broke, broke]
    alone = [line["dag_id"] for line in logged.lines("airflow_listing_of_runs_failed")]
    assert len(alone) == len({*alone})
    assert told("airflow_is_away") == ["Airflow answers 503"]
    assert back["unanswered_for"] >= 2


async def test_a_caller_that_does_not_read(airflow: FakeAirflow, logged: Logged) -> None:
    """Its deadline passes while there is more for it to read: that is no miss of the gateway's."""
    airflow.add(Dag("dag", script=[steps.finish("predict", "x" * 3_000_000)]))
    # Otherwise its channel takes in some megabytes for it.
    narrow = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{logged.port}", narrow) as channel:
        request = pb.InvokeRequest(dag_id="dag")
        unread: Any = rpc.DagInferenceStub(channel).InvokeStream(
            request, timeout=3, metadata=named("unread")
        )

        line = await logged.rpc("unread")

        unread.cancel()
    assert line["code"] == "DEADLINE_EXCEEDED"
    assert "reason" not in line
    assert line["stages"]["translation"] > 0


async def test_a_line_for_each_request_of_a_stream(airflow: FakeAirflow, logged: Logged) -> None:
    """With its own DAG, run and end; and one for the stream."""
    dag = airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    requests = [infer(dag_id="dag"), infer(dag_id="none")]
    stub = inference_rpc.GRPCInferenceServiceStub(logged.channel)
    stream = stub.ModelStreamInfer(iter(requests), timeout=10, metadata=named("stream"))
    assert len([answer async for answer in stream]) == 2

    def told() -> list[list[Any]]:
        return [
            [line.get(key) for key in ("method", "code", "dag_id", "run_id")]
            for line in logged.lines("rpc")
            if line["call_id"] == "stream"
        ]

    lines = await eventually(lambda: told() if len(told()) == 3 else None)
    assert lines
    assert sorted(lines[:2], key=str) == [
        ["ModelStreamInfer", "NOT_FOUND", "none", None],
        ["ModelStreamInfer", "OK", "dag", dag.made[0].run_id],
    ]
    assert lines[2] == ["ModelStreamInfer", "OK", None, None]
    (peer,) = {line["peer"] for line in logged.lines("rpc")}
    assert peer.startswith("ipv4:127.0.0.1:")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"MAX_CALL": "1"}, '"event":"unknown_setting","level":"warning"'),
        ({"MAX_CALL": "1", "LOG_FORMAT": "text"}, "unknown_setting                name=DAG_INF"),
    ],
)
async def test_a_variable_that_is_no_setting(logged: Logged, line: str) -> None:
    """Is warned of in the log, as everything else is said."""
    assert "warning" in logged.text
    assert line in logged.text
    if logged.text.startswith("{"):
        assert len(logged.lines("unknown_setting")) == 1


async def test_what_grpc_finds_at_the_start(airflow: FakeAirflow, logged: Logged) -> None:
    """Is no line of the log, not even at `debug`, where it would be most of them."""
    await eventually(lambda: logged.lines("airflow_ready"))
    await failure(logged.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5))

    assert [line for line in logged.lines("library") if "cygrpc" in line["logger"]] == []


@pytest.mark.parametrize("more", [{"MAX_CALLS": "1"}])
async def test_calls_that_are_refused_by_a_full_gateway(
    airflow: FakeAirflow, logged: Logged
) -> None:
    """Have one line together, every few seconds: there may be more of them than of all others."""
    dag = airflow.add(Dag("dag"))
    request = pb.InvokeRequest(dag_id="dag")
    call = logged.stub.Invoke(request, timeout=20)
    await eventually(lambda: dag.made)
    calls = [logged.stub.Invoke(request, timeout=5, metadata=named("refused")) for _ in range(5)]
    refused = [await failure(each) for each in calls]
    await logged.stub.ListDags(pb.ListDagsRequest(), timeout=5, metadata=named("last"))
    await logged.rpc("last")
    call.cancel()

    (line,) = logged.lines("calls_refused")
    assert (line["level"], line["calls"]) == ("warning", 1)
    assert {line["why"]} == {each.message for each in refused}
    assert {each.reason for each in refused} == {"OVERLOADED"}
    assert "refused" not in {line["call_id"] for line in logged.lines("rpc")}


async def test_a_call_without_a_name(airflow: FakeAirflow, logged: Logged) -> None:
    """Gets one, and so does a call whose name is none; Airflow is told it with each request."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    await logged.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
    for bad in ("two words", "x" * 101):
        await logged.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5, metadata=named(bad))
    await logged.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5, metadata=named("mine"))
    await logged.rpc("mine")

    names = [line["call_id"] for line in logged.lines("rpc")]

    assert len(set(names)) == 4
    assert all(len(name) == 12 for name in names[:3])
    asked = {asked.request.headers.get("x-request-id") for asked in airflow.asked}
    assert asked >= set(names)


@pytest.mark.parametrize("more", [{"LOG_FORMAT": form} for form in ("json", "text")])
async def test_nothing_that_is_nobodys_business(airflow: FakeAirflow, logged: Logged) -> None:
    """No password, token, conf, result or credential of a caller, at any level, of any method."""
    dag = Dag("dag", script=[steps.finish("predict", {"secret": f"{CANARY}-result"})])
    airflow.add(dag)
    raised = ValueError(f"{CANARY}-message")
    airflow.add(Dag("fails", script=[steps.fail("predict", raises=raised)]))
    airflow.add(Dag("strict", params={"n": {"value": 1, "schema": {"type": "integer"}}}))
    airflow.add(Dag("unlucky"))
    airflow.faults.add(faults.refused(422, f"{CANARY}-answer"), Kind.TRIGGER, dag_id="unlucky")
    conf = json.dumps({"n": f"{CANARY}-conf", f"{CANARY}-key": 1})
    metadata = [("authorization", f"Bearer {CANARY}-header")]
    tensors = [tensor("n", "BYTES", [1], bytes_contents=[f"{CANARY}-tensor".encode()])]
    models = inference_rpc.GRPCInferenceServiceStub(logged.channel)
    calls = 0
    for dag_id in ("dag", "fails", "strict", "unlucky"):
        request = pb.InvokeRequest(dag_id=dag_id, conf_json=conf, request_id="again")
        model = infer(*tensors, dag_id=dag_id)
        for call in (
            logged.stub.Invoke(request, timeout=5, metadata=metadata),
            logged.stub.Invoke(request, timeout=5, metadata=metadata),
            logged.stub.InvokeStream(request, timeout=5, metadata=metadata),
            models.ModelInfer(model, timeout=5, metadata=metadata),
            models.ModelStreamInfer(iter([model]), timeout=5, metadata=metadata),
        ):
            await _ended(call)
            calls += 1
    airflow.add(Dag("away"))
    airflow.faults.add(faults.refused(503, f"{CANARY}-answer"), Kind.TRIGGER, dag_id="away")
    away = pb.InvokeRequest(dag_id="away", conf_json=conf)
    assert (await failure(logged.stub.Invoke(away, timeout=20))).reason == "AIRFLOW_UNAVAILABLE"
    airflow.add(Dag("forbidden"))
    airflow.faults.add(faults.refused(403, f"{CANARY}-answer"), Kind.TRIGGER, dag_id="forbidden")
    forbidden = pb.InvokeRequest(dag_id="forbidden", conf_json=conf)
    assert (await failure(logged.stub.Invoke(forbidden, timeout=5))).reason == "AIRFLOW_DENIED"
    other = pb.InvokeRequest(dag_id="dag", conf_json=f'{{"n": "{CANARY}"}}', request_id="again")
    assert (await failure(logged.stub.Invoke(other, timeout=5))).reason == "REQUEST_ID_REUSED"
    bad = pb.InvokeRequest(dag_id="dag", conf_json=f'{{"n": "{CANARY}')
    assert (await failure(logged.stub.Invoke(bad, timeout=5))).reason == "REQUEST_INVALID"
    await eventually(lambda: logged.text.count("ModelStreamInfer") >= calls // 5)
    await eventually(lambda: logged.text.count("REQUEST_INVALID") >= 1)

    assert CANARY not in logged.text
    # What the fake calls its tokens.
    assert "token-0" not in logged.text


async def _ended(call: Any) -> None:
    await call.code()
