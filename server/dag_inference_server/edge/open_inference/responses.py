"""Outcomes as messages of the protocol."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from dag_inference.errors import ResultTooDeep, ResultTooLarge, Subject
from dag_inference_server.apart import Apart, WorkerLost
from dag_inference_server.edge.open_inference.fitting import Inference, check_outputs
from dag_inference_server.edge.open_inference.outputs import outputs_of
from dag_inference_server.edge.responses import QUICK, UNWRITABLE, written
from dag_inference_server.inference import open_inference_pb2 as pb
from dag_inference_server.invocation.call import Outcome
from dag_inference_server.results.struct import TooLarge

RUN_ID = "dag_run_id"
"""The parameter that tells the run."""

_ENVELOPE = 64
"""Bytes that a stream adds to an answer, at most."""

_QUICK = QUICK // 8
"""As there: a key of some bytes is a message here."""


class InferResponses:
    """Makes messages, within one limit of size."""

    def __init__(self, apart: Apart, max_bytes: int) -> None:
        """Write what is large `apart`, and refuse answers larger than `max_bytes`."""
        self._apart = apart
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
        run = outcome.run
        subject = Subject(run.dag_id, run.run_id, run.state)
        response = pb.ModelInferResponse(
            model_name=run.dag_id,
            model_version=str(run.version or ""),
            id=request_id,
            parameters={RUN_ID: pb.InferParameter(string_param=run.run_id)},
        )
        names, outputs = await self._outputs(inference, outcome, subject)
        check_outputs(inference.outputs, names, subject)
        if response.ByteSize() + len(outputs) + _ENVELOPE > self._max_bytes:
            raise self._too_large(subject)
        response.MergeFromString(outputs)
        return response

    async def _outputs(
        self, inference: Inference, outcome: Outcome, subject: Subject
    ) -> tuple[Collection[str], bytes]:
        if outcome.result is None:
            return (), b""
        declared = {name: known.datatype for name, known in inference.declared.items()}
        write = partial(outputs_of, outcome.result, inference.outputs, declared, self._max_bytes)
        try:
            return await written(self._apart, write, outcome.bytes_read, _QUICK)
        except RecursionError:
            raise ResultTooDeep(
                "the result is nested a thousand levels deep; ask for a reference", subject=subject
            ) from None
        except TooLarge:
            raise self._too_large(subject) from None
        except WorkerLost:
            raise ResultTooLarge(UNWRITABLE, subject=subject) from None

    def _too_large(self, subject: Subject) -> ResultTooLarge:
        return ResultTooLarge(
            f"the answer has more than {self._max_bytes} bytes; ask for fewer outputs, or for "
            "a reference by dag_inference.v1",
            subject=subject,
        )
