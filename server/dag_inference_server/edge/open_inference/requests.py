"""Requests of the protocol, checked for form and turned into calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import Any, TypeAlias

from dag_inference.errors import Violation
from dag_inference_server.edge.check import Check
from dag_inference_server.edge.open_inference.fitting import Inference
from dag_inference_server.edge.open_inference.outputs import CONTENT_TYPE, JSON
from dag_inference_server.edge.requests import QUICK, Limits, TimeRemaining, waiting
from dag_inference_server.inference import open_inference_pb2 as pb
from dag_inference_server.invocation.call import Call, ResultFormat
from dag_inference_server.results.conf import NoConf, faults, step, value_from_text
from dag_inference_server.results.struct import Json
from dag_inference_server.tensors.datatypes import (
    BYTES,
    DATATYPES,
    Datatype,
    Kind,
    NoElements,
    unpack,
)
from dag_inference_server.tensors.nesting import spare_lists, why_no_shape
from dag_inference_server.tensors.reading import Input, read

_OF_THE_CALL = ("request_id", "timeout", "triton_enable_empty_final_response", "binary_data_output")
"""Parameters that are no keys of the conf: the last two say what is so in any case."""

_NOT_SERVED = ("sequence_id", "sequence_start", "sequence_end", "priority")
"""Parameters that Triton's schedulers go by."""

_MICROSECOND = 1e-6

_QUICK = QUICK // 8
"""As there: an element takes one byte here, where a number of a Struct takes nine and more."""

_MAX_COUNT = 1000
"""Of inputs, outputs and parameters: each takes few bytes to send, and many times that to serve."""

_MAX_LISTS = 10_000
"""In all inputs, beyond one for each element."""

_Tensor: TypeAlias = pb.ModelInferRequest.InferInputTensor
_Parameters: TypeAlias = Mapping[str, pb.InferParameter]


async def read_infer(
    request: pb.ModelInferRequest, time_remaining: TimeRemaining, limits: Limits
) -> tuple[Call, Inference]:
    """Turn a request into a call, and what of it depends on its DAG.

    Args:
        request: What came over the wire.
        time_remaining: Tells the seconds until the caller's deadline.
        limits: What the operator allows.

    Raises:
        RequestInvalid: With a violation for each field that is wrong.
    """
    check = _Check()
    check.id("model_name", request.model_name)
    key, timeout = check.of_the_call(request.parameters)
    check.counts(request)
    is_large = request.ByteSize() + check.lists(request) > _QUICK
    inference = (
        await asyncio.to_thread(check.inference, request) if is_large else check.inference(request)
    )
    check.done()
    left = [seconds for seconds in (time_remaining(), timeout) if seconds is not None]
    waits = waiting(min(left, default=None), limits)
    call = Call(
        dag_id=request.model_name,
        result_format=ResultFormat.JSON,
        patience=waits.seconds,
        last_look=waits.last_look,
        limited_by=waits.limited_by,
        conf={},
        fitting=inference,
        is_large=is_large,
        request_id=key,
    )
    return call, inference


def request_id(request: pb.ModelInferRequest) -> str:
    """The idempotency key of a request; empty if it has none."""
    return _text(request.parameters, "request_id")


def _text(parameters: _Parameters, name: str) -> str:
    # To look a name up in a map of a message makes it be there.
    return parameters[name].string_param if name in parameters else ""


class _Check(Check):
    """Checks what a request has, and reads it."""

    def of_the_call(self, parameters: _Parameters) -> tuple[str | None, float | None]:
        """The idempotency key, and the seconds that the caller allows."""
        seconds = None
        if "request_id" in parameters:
            self.request_id("parameters.request_id", _text(parameters, "request_id"))
        if "timeout" in parameters:
            timeout = parameters["timeout"]
            microseconds = timeout.int64_param or timeout.uint64_param
            self.that(microseconds > 0, "parameters.timeout", "must be microseconds, 1 or more")
            seconds = microseconds * _MICROSECOND
        for name in _NOT_SERVED:
            self.that(name not in parameters, f"parameters.{name}", "is not served")
        return _text(parameters, "request_id") or None, seconds

    def counts(self, request: pb.ModelInferRequest) -> None:
        """Make sure that there is not too much to look at.

        Raises:
            RequestInvalid: There is, or something was wrong before.
        """
        counts = {
            "inputs": len(request.inputs),
            "outputs": len(request.outputs),
            "parameters": len(request.parameters),
        }
        for field, count in counts.items():
            self.that(count <= _MAX_COUNT, field, f"are {count}, more than {_MAX_COUNT}")
        if max(counts.values()) > _MAX_COUNT:
            self.done()

    def lists(self, request: pb.ModelInferRequest) -> int:
        """How many lists the shapes ask for, beyond one for each element.

        Raises:
            RequestInvalid: More than may be made; something may have been wrong before, too.
        """
        lists = 0
        for index, tensor in enumerate(request.inputs):
            lists += spare_lists(tensor.shape)
            if lists > _MAX_LISTS:
                why = f"makes more lists than {_MAX_LISTS} in all and one for each element"
                self.that(False, f"inputs[{index}].shape", why)
                self.done()
        return lists

    def inference(self, request: pb.ModelInferRequest) -> Inference:
        parameters = {
            name: self._parameter(name, value)
            for name, value in request.parameters.items()
            if name not in _OF_THE_CALL
        }
        raw: list[bytes | None] = [*request.raw_input_contents]
        if raw and len(raw) != len(request.inputs):
            self.that(False, "raw_input_contents", f"must be one for each of {len(request.inputs)}")
            raw = []
        inputs = {}
        for index, tensor in enumerate(request.inputs):
            where = f"inputs[{index}]"
            self.that(tensor.name != "", f"{where}.name", "is required")
            self.that(tensor.name not in inputs, f"{where}.name", "is the name of another, too")
            self.that(
                tensor.name not in request.parameters, f"{where}.name", "is a parameter's, too"
            )
            contents = raw[index] if raw else None
            inputs[tensor.name] = self._input(
                where, f"raw_input_contents[{index}]", tensor, contents
            )
        conf = parameters | {name: tensor.value for name, tensor in inputs.items()}
        self.wrong(Violation(f"conf{fault.path}", fault.why) for fault in faults(conf))
        return Inference(inputs, parameters, request.model_version, self._outputs(request))

    def _outputs(self, request: pb.ModelInferRequest) -> tuple[str, ...]:
        for index, output in enumerate(request.outputs):
            for name in ("classification", "shared_memory_region"):
                path = f"outputs[{index}].parameters.{name}"
                self.that(name not in output.parameters, path, "is not served")
        names = tuple(output.name for output in request.outputs)
        # The first of each: a dict keeps what is said last.
        first = {name: index for index, name in reversed([*enumerate(names)])}
        for name, count in Counter(names).items():
            path = f"outputs[{first[name]}].name"
            self.that(name != "", path, "is required")
            self.that(count == 1, path, "must be named once")
        return names

    def _parameter(self, name: str, value: pb.InferParameter) -> Json:
        chosen = value.WhichOneof("parameter_choice")
        self.that(chosen is not None, f"parameters{step(name)}", "has no value")
        return getattr(value, chosen) if chosen is not None else None

    def _input(self, where: str, raw_field: str, tensor: _Tensor, raw: bytes | None) -> Input:
        """What a tensor says; nothing if it is none."""
        nothing, datatype = Input(None), DATATYPES.get(tensor.datatype)
        self.that(
            "shared_memory_region" not in tensor.parameters,
            f"{where}.parameters.shared_memory_region",
            "is not served",
        )
        wrong_shape = why_no_shape(tensor.shape)
        self.that(wrong_shape is None, f"{where}.shape", wrong_shape or "")
        if datatype is None:
            self.that(False, f"{where}.datatype", f"must be one of {', '.join(DATATYPES)}")
        if datatype is None or wrong_shape is not None:
            return nothing
        elements = (
            self._typed(f"{where}.contents", datatype, tensor)
            if raw is None
            else self._raw(raw_field, datatype, tensor, raw)
        )
        if elements is None:
            return nothing
        if _text(tensor.parameters, CONTENT_TYPE) == JSON:
            return self._json(where, tensor, elements)
        return read(datatype, tensor.shape, elements)

    def _raw(self, where: str, datatype: Datatype, tensor: _Tensor, raw: bytes) -> list[Any] | None:
        if tensor.HasField("contents"):
            self.that(False, where, f"{tensor.name} has contents, too")
            return None
        try:
            return unpack(datatype, prod(tensor.shape), raw)
        except NoElements as error:
            self.that(False, where, f"{error}, by {datatype.name} and its shape")
            return None

    def _typed(self, where: str, datatype: Datatype, tensor: _Tensor) -> list[Any] | None:
        count, found = prod(tensor.shape), {f.name: e for f, e in tensor.contents.ListFields()}
        elements = [*found.pop(datatype.field, ())] if datatype.field else []
        for name in found:
            self.that(False, f"{where}.{name}", f"is not where {datatype.name} has its elements")
        if found:
            return None
        path = f"{where}.{datatype.field}" if datatype.field else where
        if len(elements) != count:
            place = "" if datatype.field else ", in raw_input_contents"
            self.that(False, path, f"has {len(elements)} elements, and must have {count}{place}")
            return None
        if datatype.kind is Kind.INTEGER and elements:
            is_within = datatype.lowest <= min(elements) and max(elements) <= datatype.highest
            self.that(is_within, path, f"has an element that is no {datatype.name}")
        return elements

    def _json(self, where: str, tensor: _Tensor, elements: list[Any]) -> Input:
        path = f"{where}.parameters.{CONTENT_TYPE}"
        if tensor.datatype != BYTES.name or len(elements) != 1:
            self.that(False, path, "must be of one element of BYTES")
            return Input(None)
        try:
            return Input(value_from_text(elements[0].decode(), step(tensor.name)))
        except UnicodeDecodeError:
            self.that(False, path, "must be of UTF-8")
        except NoConf as error:
            self.that(False, f"conf{error.fault.path}", error.fault.why)
        return Input(None)
