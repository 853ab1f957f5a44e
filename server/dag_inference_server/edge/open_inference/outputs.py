"""The outputs of a result as a message of the protocol: as bytes, in any process.

Nothing here loads Airflow's client, which takes a new process seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dag_inference_server.inference import open_inference_pb2 as pb
from dag_inference_server.results.shape import Shaped
from dag_inference_server.results.struct import TooLarge
from dag_inference_server.tensors.datatypes import Datatype
from dag_inference_server.tensors.writing import Tensor, named_values, tensor_of

CONTENT_TYPE, JSON = "content_type", "application/json"
"""The parameter of a tensor whose one text is JSON."""

_FIELDS = 4
"""Bytes that the two fields of an output take beside what is in them, at least."""


def outputs_of(
    result: Shaped, wanted: Sequence[str], declared: Mapping[str, Datatype], max_bytes: int
) -> tuple[tuple[str, ...], bytes]:
    """The names of all outputs of a result, and a response that has those that are wanted.

    Args:
        result: The result.
        wanted: The names; none for all. One that the result does not have is left out.
        declared: The datatypes that the DAG's author has declared.
        max_bytes: What the response may have.

    Raises:
        TooLarge: It has more.
        RecursionError: A value is nested about a thousand levels deep.
    """
    values = named_values(result.unpacked())
    response, size = pb.ModelInferResponse(), 0
    for name in wanted or values:
        if name not in values:
            continue
        tensor = tensor_of(values[name], declared.get(name))
        output = _output(name, tensor)
        size += _FIELDS + output.ByteSize() + len(tensor.raw)
        if size > max_bytes:
            raise TooLarge
        response.outputs.append(output)
        response.raw_output_contents.append(tensor.raw)
    return tuple(values), response.SerializeToString()


def _output(name: str, tensor: Tensor) -> pb.ModelInferResponse.InferOutputTensor:
    output = pb.ModelInferResponse.InferOutputTensor(
        name=name, datatype=tensor.datatype.name, shape=tensor.shape
    )
    if tensor.is_json:
        output.parameters[CONTENT_TYPE].string_param = JSON
    return output
