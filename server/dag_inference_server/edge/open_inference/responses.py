"""Outcomes as messages of the protocol."""

from __future__ import annotations

import asyncio

from dag_inference.errors import ResultTooDeep, ResultTooLarge, Subject
from dag_inference_server.edge.open_inference.fitting import Inference, check_outputs
from dag_inference_server.edge.open_inference.requests import CONTENT_TYPE, JSON
from dag_inference_server.edge.responses import QUICK
from dag_inference_server.inference import open_inference_pb2 as pb
from dag_inference_server.invocation.call import Outcome
from dag_inference_server.tensors.writing import Tensor, named_values, tensor_of

RUN_ID = "dag_run_id"
"""The parameter that tells the run."""

_ENVELOPE = 64
"""Bytes that a stream adds to an answer, at most."""

_FIELDS = 4
"""Bytes that the two fields of an output take beside what is in them, at least."""

_QUICK = QUICK // 8
"""As there: a key of some bytes is a message here."""


class InferResponses:
    """Makes messages, within one limit of size."""

    def __init__(self, max_bytes: int) -> None:
        """Refuse answers larger than `max_bytes`."""
        self._max_bytes = max_bytes

    async def outcome(
        self,
        request_id: str,
        inference: Inference,
        outcome: Outcome,
    ) -> pb.ModelInferResponse:
        """The answer to a request.

        Args:
            request_id: Its `id`, which goes back.
            inference: What it wants.
            outcome: What came of it.

        Raises:
            RequestInvalid: An output is wanted that the result does not have.
            ResultTooLarge: The answer is larger than the limit.
            ResultTooDeep: The result is nested too deeply to be written down.
        """
        if outcome.bytes_read > _QUICK:
            return await asyncio.to_thread(self._outcome, request_id, inference, outcome)
        return self._outcome(request_id, inference, outcome)

    def _outcome(
        self, request_id: str, inference: Inference, outcome: Outcome
    ) -> pb.ModelInferResponse:
        run = outcome.run
        subject = Subject(run.dag_id, run.run_id, run.state)
        response = pb.ModelInferResponse(
            model_name=run.dag_id,
            model_version=str(run.version or ""),
            id=request_id,
            parameters={RUN_ID: pb.InferParameter(string_param=run.run_id)},
        )
        values = named_values(outcome.result) if outcome.result else {}
        check_outputs(inference.outputs, values, subject)
        size = response.ByteSize() + _ENVELOPE
        for name in inference.outputs or values:
            known = inference.declared.get(name)
            try:
                tensor = tensor_of(values[name], known.datatype if known else None)
            except RecursionError:
                raise ResultTooDeep(
                    "the result is nested a thousand levels deep; ask for a reference",
                    subject=subject,
                ) from None
            output = _output(name, tensor)
            size += _FIELDS + output.ByteSize() + len(tensor.raw)
            self._check(size, subject)
            response.outputs.append(output)
            response.raw_output_contents.append(tensor.raw)
        self._check(response.ByteSize() + _ENVELOPE, subject)
        return response

    def _check(self, size: int, subject: Subject) -> None:
        if size > self._max_bytes:
            raise ResultTooLarge(
                f"the answer has more than {self._max_bytes} bytes; ask for fewer outputs, or for "
                "a reference by dag_inference.v1",
                subject=subject,
            )


def _output(name: str, tensor: Tensor) -> pb.ModelInferResponse.InferOutputTensor:
    output = pb.ModelInferResponse.InferOutputTensor(
        name=name, datatype=tensor.datatype.name, shape=tensor.shape
    )
    if tensor.is_json:
        output.parameters[CONTENT_TYPE].string_param = JSON
    return output
