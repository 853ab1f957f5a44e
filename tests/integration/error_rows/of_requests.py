"""Requests that are malformed: Airflow is not asked."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from grpc import StatusCode

from dag_inference.v1 import dag_inference_pb2 as pb
from integration.cases import Case, conf, conf_json

MALFORMED_IDS = {
    "every DAG": "~",
    "parent folder": "../x",
    "encoded slash": "%2f",
    "dot": ".",
    "dots": "..",
    "too long": "x" * 10_000,
    "slash": "a/b",
    "newline": "a\n",
    "newline within": "a\nb",
    "NUL": "a\0",
    "space": "a b",
    "query": "a?b",
    "251 bytes": "é" * 125 + "x",
}


def invalid(name: str, request: pb.InvokeRequest, *violations: str) -> Case:
    """A request that is malformed: Airflow is not asked."""
    return Case(
        name=name,
        code=StatusCode.INVALID_ARGUMENT,
        reason="REQUEST_INVALID",
        request=request,
        metadata={},
        violations=violations,
        asks=False,
    )


def deep(levels: int) -> pb.InvokeRequest:
    """A request with a Struct so many levels deep."""
    request = pb.InvokeRequest(dag_id="dag")
    struct = request.conf
    for _ in range(levels):
        struct = struct.fields["a"].struct_value
    return request


def of_size(size: int) -> pb.InvokeRequest:
    """A request of so many bytes."""
    request = conf_json("{}")
    request.conf_json = " " * (size - request.ByteSize() - 6) + "{}"
    request.conf_json += " " * (size - request.ByteSize())
    return request


def with_number(field: str, number: int) -> pb.InvokeRequest:
    """A request with a number that an enum does not have."""
    request = pb.InvokeRequest(dag_id="dag")
    setattr(request, field, number)
    return request


REQUEST_INVALID = [
    invalid("no dag_id", pb.InvokeRequest(), "dag_id"),
    *(
        invalid(f"dag_id {name}", pb.InvokeRequest(dag_id=dag_id), "dag_id")
        for name, dag_id in MALFORMED_IDS.items()
    ),
    *(
        invalid(
            f"task id {name}",
            pb.InvokeRequest(dag_id="dag", result_task_ids=["predict", task_id]),
            "result_task_ids[1]",
        )
        for name, task_id in {"empty": "", **MALFORMED_IDS}.items()
    ),
    invalid(
        "task named twice",
        pb.InvokeRequest(dag_id="dag", result_task_ids=["a", "b", "a"]),
        "result_task_ids",
    ),
    invalid(
        "33 tasks",
        pb.InvokeRequest(dag_id="dag", result_task_ids=[f"t{n}" for n in range(33)]),
        "result_task_ids",
    ),
    *(
        invalid(
            f"request_id {name}",
            pb.InvokeRequest(dag_id="dag", request_id=request_id),
            "request_id",
        )
        for name, request_id in {
            "of 129 characters": "x" * 129,
            "with a newline": "a\n",
            "with NUL": "a\0b",
            "with DEL": "a\x7f",
            "not ASCII": "é",
        }.items()
    ),
    *(
        invalid(f"{field} is none of the enum", with_number(field, number), field)
        for field, number in (("result_format", 99), ("on_deadline", 99), ("on_disconnect", -1))
    ),
    invalid("conf NaN", conf(x=float("nan")), "conf.x"),
    invalid("conf infinite", conf(x=[{"y": float("-inf")}]), "conf.x[0].y"),
    invalid(
        "conf_json in three places",
        conf_json(r'{"a.b": NaN, "c": [0, {"d": -1e400}], "e": {"f": "\ud800"}}'),
        'conf_json["a.b"]',
        "conf_json.c[1].d",
        "conf_json.e.f",
    ),
    invalid(
        "conf_json below a key that is no text",
        conf_json(r'{"\ud800": NaN}'),
        "conf_json",
        r'conf_json["\ud800"]',
    ),
    *(
        invalid(f"conf_json {name}", conf_json(text), "conf_json.a")
        for name, text in {
            "NaN": '{"a": NaN}',
            "beyond a double": '{"a": 1e400}',
            "lone surrogate": '{"a": "\\ud800"}',
            "U+0000": '{"a": "\\u0000"}',
        }.items()
    ),
    invalid(
        "conf unset", pb.InvokeRequest(dag_id="dag", conf=Struct(fields={"x": Value()})), "conf.x"
    ),
    *(
        invalid(f"conf_json {name}", conf_json(text), "conf_json")
        for name, text in {
            "list": "[1]",
            "null": "null",
            "empty": "",
            "broken": '{"a": ',
            "more than one": "{} {}",
            "a key twice": '{"a": 1, "a": 2}',
            "lone surrogate as key": '{"\\udfff": 1}',
            "101 deep": '{"a": ' * 101 + "1" + "}" * 101,
            "900 deep": '{"a": ' * 900 + "1" + "}" * 900,
            "10000 deep": '{"a": ' * 10_000 + "1" + "}" * 10_000,
        }.items()
    ),
    invalid(
        "conf_json integer of 5000 digits",
        conf_json('{"a": ' + "1" * 5000 + "}"),
        "conf_json",
    ),
    invalid(
        "conf deeper than protobuf reads",
        deep(40),
    ),
    invalid("one byte more than 4 MiB", of_size(4 * 1024 * 1024 + 1)),
    invalid("nearly 8 MiB", of_size(8 * 1024 * 1024 - 100)),
    invalid("everything at once", pb.InvokeRequest(request_id="é"), "dag_id", "request_id"),
]

RUN_TIMEOUTS = [
    invalid(
        f"run_timeout of {duration.seconds} s and {duration.nanos} ns",
        pb.InvokeRequest(dag_id="dag", run_timeout=duration),
        "run_timeout",
    )
    for duration in (
        Duration(),
        Duration(seconds=-5),
        Duration(nanos=999_999),
        Duration(seconds=365 * 24 * 3600 + 1),
        Duration(seconds=2**63 - 1, nanos=2**31 - 1),
        Duration(seconds=60, nanos=-1),
        Duration(seconds=60, nanos=1_000_000_000),
    )
]
