"""The families that every board knows: each RPC of each service, by go-grpc-middleware's names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from dag_inference.v1 import dag_inference_pb2 as pb
from fakes.airflow import Dag, FakeAirflow, steps
from integration.gateway import Gateway
from integration.inference import infer, returning, stub
from integration.scraping import Scraped, scrape, scrape_until
from integration.statuses import failure
from integration.waiting import eventually

METHODS = {
    "dag_inference.v1.DagInference": {
        "Invoke": "unary",
        "InvokeStream": "server_stream",
        "Wait": "unary",
        "Watch": "server_stream",
        "Cancel": "unary",
        "ListDags": "unary",
        "DescribeDag": "unary",
    },
    "inference.GRPCInferenceService": {
        "ServerLive": "unary",
        "ServerReady": "unary",
        "ServerMetadata": "unary",
        "ModelReady": "unary",
        "ModelMetadata": "unary",
        "ModelInfer": "unary",
        "ModelStreamInfer": "bidi_stream",
    },
    "grpc.health.v1.Health": {"Check": "unary", "List": "unary", "Watch": "server_stream"},
}

REFLECTION = {
    "grpc_type": "bidi_stream",
    "grpc_service": "grpc.reflection.v1alpha.ServerReflection",
    "grpc_method": "ServerReflectionInfo",
}

CODES = (
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound"),
    *("AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition"),
    *("Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss"),
    "Unauthenticated",
)
"""As Go writes them (grpc-go, `codes/code_string.go`)."""

LABELS = [
    {"grpc_type": kind, "grpc_service": service, "grpc_method": method}
    for service, methods in METHODS.items()
    for method, kind in methods.items()
]


def labels(name: str, service: str = "dag_inference.v1.DagInference") -> dict[str, str]:
    """Those of a method."""
    (found,) = (
        each for each in LABELS if each["grpc_method"] == name and each["grpc_service"] == service
    )
    return found


def ordered(samples: list[dict[str, str]]) -> list[list[tuple[str, str]]]:
    """To be compared, whatever the order."""
    return sorted(sorted(each.items()) for each in samples)


async def test_every_method_begins_with_zero(gateway: Gateway) -> None:
    """Of every service, before any call of it, with these labels and no others."""
    found = await scrape(gateway)

    for family in ("started_total", "msg_received_total", "msg_sent_total", "handling_seconds_sum"):
        name = f"grpc_server_{family}"
        assert ordered(found.labels_of(name)) == ordered(LABELS)
        assert found.shown(name) == 0
    handled = [{**each, "grpc_code": code} for each in LABELS for code in CODES]
    assert ordered(found.labels_of("grpc_server_handled_total")) == ordered(handled)
    assert found.shown("grpc_server_handled_total") == 0
    for bucket in found.labels_of("grpc_server_handling_seconds_bucket"):
        assert bucket.pop("le")
        assert bucket in LABELS


async def test_methods_with_one_request(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Begun, handled by code, messages and times: those that answer once and those that go on."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    parked = airflow.add(Dag("parked"))
    await gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=5)
    await failure(gateway.stub.Invoke(pb.InvokeRequest(), timeout=5))
    await failure(gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=2))
    stream = gateway.stub.InvokeStream(pb.InvokeRequest(dag_id="dag"), timeout=5)
    events = [event async for event in stream]
    left = gateway.stub.Invoke(pb.InvokeRequest(dag_id="parked"), timeout=20)
    await eventually(lambda: len(parked.made) == 2)
    left.cancel()
    health: Any = health_pb2_grpc.HealthStub(gateway.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    await watch.read()
    watch.cancel()
    watched = labels("Watch", "grpc.health.v1.Health")
    await handled(gateway, "Canceled", watched)
    found = await handled(gateway, "Canceled", labels("Invoke"))

    unary, streamed = labels("Invoke"), labels("InvokeStream")
    assert found("grpc_server_started_total", **unary) == 4
    for code in ("OK", "InvalidArgument", "DeadlineExceeded", "Canceled"):
        assert found("grpc_server_handled_total", grpc_code=code, **unary) == 1, code
    assert found("grpc_server_handled_total", **unary) == 4
    assert found("grpc_server_msg_received_total", **unary) == 4
    assert found("grpc_server_msg_sent_total", **unary) == 1
    assert found("grpc_server_handling_seconds_count", **unary) == 4
    assert found("grpc_server_msg_sent_total", **streamed) == len(events)
    assert found("grpc_server_handled_total", grpc_code="OK", **streamed) == 1
    assert found("grpc_server_msg_sent_total", **watched) == 1
    assert found("grpc_server_handled_total", grpc_code="Canceled", **watched) == 1


async def test_a_stream_of_inferences(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Is one RPC with as many messages as are sent and answered; an error is an answer, too."""
    airflow.add(returning(1))
    dag_ids = ["dag", "nowhere", "dag"]

    answers = [
        answer
        async for answer in stub(gateway).ModelStreamInfer(
            (infer(dag_id=dag_id) for dag_id in dag_ids), timeout=5
        )
    ]

    called = labels("ModelStreamInfer", "inference.GRPCInferenceService")
    found = await handled(gateway, "OK", called)
    assert [bool(answer.error_message) for answer in answers].count(True) == 1
    assert counted(found, called) == {"started": 1, "received": 3, "sent": 3, "ended": 1}


async def test_a_stream_that_is_left(airflow: FakeAirflow, gateway: Gateway) -> None:
    """Counts what had come and gone until then."""
    airflow.add(returning(1))
    parked = airflow.add(Dag("parked"))
    stream = stub(gateway).ModelStreamInfer(timeout=20)
    await stream.write(infer(dag_id="dag"))
    await stream.read()
    await stream.write(infer(dag_id="parked"))
    await eventually(lambda: parked.made)
    stream.cancel()

    called = labels("ModelStreamInfer", "inference.GRPCInferenceService")
    found = await handled(gateway, "Canceled", called)
    assert counted(found, called) == {"started": 1, "received": 2, "sent": 1, "ended": 1}


@pytest.mark.parametrize("settings", [{"reflection": True}], ids=[""])
async def test_questions_about_the_server(gateway: Gateway) -> None:
    """Reflection is a library's own, and counts as any other."""
    messages: Any = reflection_pb2
    channel: Any = gateway.channel
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)

    async def questions() -> AsyncIterator[Any]:
        yield messages.ServerReflectionRequest(list_services="")
        yield messages.ServerReflectionRequest(file_containing_symbol="no.such.Thing")

    answers = [each async for each in reflection.ServerReflectionInfo(questions(), timeout=5)]

    found = await handled(gateway, "OK", REFLECTION)
    names = {each.name for each in answers[0].list_services_response.service}
    assert names == found.values_of("grpc_service") == {*METHODS, REFLECTION["grpc_service"]}
    assert counted(found, REFLECTION) == {"started": 1, "received": 2, "sent": 2, "ended": 1}


async def test_what_cannot_be_decoded_counts(gateway: Gateway) -> None:
    """It is an RPC as any other; a path that leads nowhere is none."""
    ours = labels("Invoke"), labels("ModelInfer", "inference.GRPCInferenceService")
    paths = ["/{grpc_service}/{grpc_method}".format(**each) for each in ours]
    for path in (*paths, "/no.such.Service/Method", "no-slash"):
        call: Any = gateway.channel.unary_unary(path)
        await failure(call(b"\xff\xff", timeout=5))

    found = await scrape(gateway)

    for each in ours:
        assert found("grpc_server_handled_total", grpc_code="InvalidArgument", **each) == 1
    assert found("grpc_server_started_total") == len(ours)
    assert found.values_of("grpc_service") == {*METHODS}


async def handled(gateway: Gateway, code: str, called: dict[str, str]) -> Scraped:
    """What is scraped once an RPC has ended with a code: who called may know of it before."""
    return await scrape_until(
        gateway, lambda found: found("grpc_server_handled_total", grpc_code=code, **called)
    )


def counted(found: Scraped, called: dict[str, str]) -> dict[str, float]:
    """What is told of a method."""
    return {
        "started": found.shown("grpc_server_started_total", **called),
        "received": found.shown("grpc_server_msg_received_total", **called),
        "sent": found.shown("grpc_server_msg_sent_total", **called),
        "ended": found.shown("grpc_server_handled_total", **called),
    }
