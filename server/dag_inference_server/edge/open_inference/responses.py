"""Outcomes as messages of the protocol."""

from __future__ import annotations

from dag_inference.errors import ResultTooDeep, ResultTooLarge, Subject
from dag_inference_server.apart import Apart
from dag_inference_server.edge.open_inference.fitting import Inference, not_there
from dag_inference_server.edge.open_inference.outputs import (
    NoSuchOutputs,
    OutputsTooLarge,
    outputs_bytes_of,
    outputs_of,
)
from dag_inference_server.edge.wire import Answer
from dag_inference_server.inference import open_inference_pb2 as pb
from dag_inference_server.invocation.call import Outcome
from dag_inference_server.results.written import QUICK

RUN_ID = "dag_run_id"
"""The parameter that tells the run."""

_ENVELOPE = 64
"""Bytes that a stream adds to an answer, at most."""

_QUICK = QUICK // 8
"""Bytes of JSON that are made a message within some milliseconds: a key of some bytes is a message
here."""


class InferResponses:
    """Makes messages, within one limit of size."""

    def __init__(self, apart: Apart, max_bytes: int) -> None:
        """Refuse answers larger than `max_bytes`, and make outputs of large results `apart`."""
        self._apart = apart
        self._max_bytes = max_bytes

    async def outcome(
        self,
        request_id: str,
        inference: Inference,
        outcome: Outcome,
    ) -> Answer[pb.ModelInferResponse]:
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
        run = outcome.run
        response = pb.ModelInferResponse(
            model_name=run.dag_id,
            model_version=str(run.version or ""),
            id=request_id,
            parameters={RUN_ID: pb.InferParameter(string_param=run.run_id)},
        )
        wanted = inference.outputs
        declared = {name: known.datatype for name, known in inference.declared.items()}
        left = self._max_bytes - response.ByteSize() - _ENVELOPE
        more = b""
        try:
            if (size := outcome.bytes_read) <= _QUICK or outcome.result is None:
                response.MergeFrom(outputs_of(outcome.result, wanted, declared, left))
            else:
                # Text can be nested deeper than what is pickled.
                result = outcome.result.written()
                more = await self._apart.run(size, outputs_bytes_of, result, wanted, declared, left)
        except NoSuchOutputs as error:
            raise not_there(error, wanted, Subject(run.dag_id)) from None
        except OutputsTooLarge:
            raise self._too_large() from None
        except RecursionError:
            raise ResultTooDeep(
                "the result is nested a thousand levels deep; ask for a reference"
            ) from None
        answer = Answer(response, more)
        if answer.size + _ENVELOPE > self._max_bytes:
            raise self._too_large()
        return answer

    def _too_large(self) -> ResultTooLarge:
        return ResultTooLarge(
            f"the answer has more than {self._max_bytes} bytes; ask for fewer outputs, or for a "
            "reference by dag_inference.v1"
        )
