"""What is sent for what a caller asks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dag_inference import AsyncDagInferenceClient, DagInferenceClient
from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    import grpc

Serve = Callable[..., str]


class Recorder:
    """A gateway that keeps what it was asked."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.requests: list[Any] = []
        self.seconds: list[float] = []

    def __call__(self, request: object, context: grpc.ServicerContext) -> pb.InvokeResponse:
        """Answer anything with an empty result."""
        self.requests.append(request)
        self.seconds.append(context.time_remaining())
        return pb.InvokeResponse()


async def test_every_option_is_sent_by_both_clients(serve: Serve) -> None:
    """Each option is the field of the same name."""
    asked = Recorder()
    target = serve(Invoke=asked, Wait=asked)

    with DagInferenceClient(target) as client:
        client.invoke(
            "iris",
            {"k": 1},
            timeout=60,
            request_id="r1",
            result_task_ids=["a", "b"],
            run_timeout=1.5,
            on_deadline="cancel",
            on_disconnect="cancel",
            reference=True,
        )
        client.wait("iris", "grpc__1", timeout=60, result_task_ids=["a"], on_deadline="cancel")
    async with AsyncDagInferenceClient(target) as aio:
        await aio.invoke(
            "iris",
            {"k": 1},
            timeout=60,
            request_id="r1",
            result_task_ids=["a", "b"],
            run_timeout=1.5,
            on_deadline="cancel",
            on_disconnect="cancel",
            reference=True,
        )
        await aio.wait("iris", "grpc__1", timeout=60, result_task_ids=["a"], on_deadline="cancel")

    invoke = pb.InvokeRequest(
        dag_id="iris",
        conf_json='{"k":1}',
        request_id="r1",
        result_task_ids=["a", "b"],
        on_deadline=pb.ON_DEADLINE_CANCEL,
        on_disconnect=pb.ON_DISCONNECT_CANCEL,
        result_format=pb.RESULT_FORMAT_REFERENCE,
    )
    invoke.run_timeout.FromTimedelta(timedelta(seconds=1.5))
    wait = pb.WaitRequest(
        dag_id="iris",
        run_id="grpc__1",
        result_task_ids=["a"],
        on_deadline=pb.ON_DEADLINE_CANCEL,
        on_disconnect=pb.ON_DISCONNECT_KEEP,
        result_format=pb.RESULT_FORMAT_JSON,
    )
    assert asked.requests == [invoke, wait, invoke, wait]
    assert asked.seconds == [pytest.approx(60, abs=5)] * 4


def test_without_a_conf_none_is_sent(serve: Serve) -> None:
    """No conf and an empty one are two things."""
    asked = Recorder()

    with DagInferenceClient(serve(Invoke=asked)) as client:
        client.invoke("iris")
        client.invoke("iris", {})

    assert [request.WhichOneof("input") for request in asked.requests] == [None, "conf_json"]


@pytest.mark.parametrize(
    "conf", [{"n": 2**63 + 1}, {"one": 1, "also one": 1.0}, {"text": "é\ud800\n"}, {"deep": [[{}]]}]
)
def test_the_conf_is_sent_exactly(serve: Serve, conf: dict[str, Any]) -> None:
    """As JSON text, which keeps large integers, and 1 apart from 1.0."""
    asked = Recorder()

    with DagInferenceClient(serve(Invoke=asked)) as client:
        client.invoke("iris", conf)

    assert repr(json.loads(asked.requests[0].conf_json)) == repr(conf)


def test_each_call_has_a_request_id_of_its_own(serve: Serve) -> None:
    """So that a call which the transport repeats does not make a second run."""
    asked = Recorder()

    with DagInferenceClient(serve(Invoke=asked)) as client:
        client.invoke("iris")
        client.invoke("iris")

    first, second = (request.request_id for request in asked.requests)
    assert first != second
    assert len(first) == 32


@pytest.mark.parametrize(
    ("conf", "error"),
    [({"n": float("nan")}, ValueError), ({"n": float("inf")}, ValueError), ({"n": {1}}, TypeError)],
)
def test_a_conf_that_is_no_json_is_refused_before_anything_is_sent(
    serve: Serve, conf: dict[str, Any], error: type[Exception]
) -> None:
    """NaN, infinities and what JSON does not know raise at the caller's."""
    asked = Recorder()

    with DagInferenceClient(serve(Invoke=asked)) as client, pytest.raises(error):
        client.invoke("iris", conf)

    assert asked.requests == []


def test_one_str_is_not_taken_for_many_task_ids(serve: Serve) -> None:
    """`result_task_ids="predict"` would else ask for the task `p` and six more."""
    with (
        DagInferenceClient(serve(Invoke=Recorder())) as client,
        pytest.raises(TypeError, match="predict"),
    ):
        client.invoke("iris", result_task_ids="predict")


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"conf": [1]}, TypeError, "conf is a mapping of names to JSON values, not list"),
        ({"conf": '{"n": 1}'}, TypeError, "conf is a mapping of names to JSON values, not str"),
        ({"on_deadline": "kill"}, ValueError, "on_deadline is 'keep' or 'cancel', not 'kill'"),
        ({"on_disconnect": "KEEP"}, ValueError, "on_disconnect is 'keep' or 'cancel', not 'KEEP'"),
    ],
    ids=str,
)
async def test_arguments_that_are_none(
    nobody: str, kind: str, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    """Are refused in a sentence, before anything is sent."""
    if kind == "blocking":
        with (
            DagInferenceClient(nobody) as client,
            pytest.raises(error, match=re.escape(says)),
        ):
            client.invoke("iris", **arguments)
    else:
        async with AsyncDagInferenceClient(nobody) as aio:
            with pytest.raises(error, match=re.escape(says)):
                await aio.invoke("iris", **arguments)


@pytest.mark.parametrize("client", [DagInferenceClient, AsyncDagInferenceClient])
async def test_a_url_is_no_target(client: Any) -> None:
    """GRPC would look it up as the name of a host."""
    with pytest.raises(ValueError, match="HOST:PORT, without http://"):
        client("http://127.0.0.1:50051")


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_none(timeout: float) -> None:
    """It is refused before anything is sent: gRPC would say that the deadline has passed."""
    with (
        DagInferenceClient("127.0.0.1:1") as client,
        pytest.raises(ValueError, match="timeout is a number of seconds above 0"),
    ):
        client.invoke("dag", timeout=timeout)


@pytest.mark.parametrize("timeout", [1e10, float("inf")])
async def test_a_timeout_without_end(serve: Serve, timeout: float) -> None:
    """It is as long as gRPC can be told, for which a longer one is past."""
    asked = Recorder()
    target = serve(Invoke=asked, Cancel=asked, Wait=asked)

    with DagInferenceClient(target) as client:
        client.invoke("dag", timeout=timeout)
    async with AsyncDagInferenceClient(target) as other:
        await other.wait("dag", "run", timeout=timeout)

    assert min(asked.seconds) > 9e7
