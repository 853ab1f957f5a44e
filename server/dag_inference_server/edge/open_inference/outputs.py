"""A result as the outputs of an answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from dag_inference_server.inference import open_inference_pb2 as pb
from dag_inference_server.results.shape import Shaped
from dag_inference_server.tensors.datatypes import Datatype
from dag_inference_server.tensors.writing import Tensor, tensor_of

CONTENT_TYPE, JSON = "content_type", "application/json"
"""The parameter of a tensor whose one text is JSON."""

_FIELDS = 4
"""Bytes that the two fields of an output take beside what is in them, at least."""


_NAMES = 20
"""That are told of a result that does not have what is wanted."""


class NoSuchOutputs(Exception):
    """Outputs are wanted that there are not.

    Its arguments are their places among those that are wanted, and the names of some that there
    are.
    """

    @classmethod
    def among(cls, wanted: Sequence[str], known: Collection[str]) -> NoSuchOutputs | None:
        """The error, if some that are wanted are not known."""
        places = tuple(place for place, name in enumerate(wanted) if name not in known)
        return cls(places, tuple(islice(known, _NAMES))) if places else None


class OutputsTooLarge(Exception):
    """They have more bytes than they may."""


def outputs_of(
    result: Shaped | None,
    wanted: Sequence[str],
    declared: Mapping[str, Datatype],
    max_bytes: int,
) -> pb.ModelInferResponse:
    """An answer of nothing but outputs.

    One for each key of an object and for each of several result tasks; none where there is no
    result; any other value is called `return_value`.

    Args:
        result: The result; `None` where there is none.
        wanted: The names of the outputs; none for all.
        declared: The datatypes that the DAG's author has declared, by name.
        max_bytes: How large it may be.

    Raises:
        NoSuchOutputs: Some are wanted that there are not.
        OutputsTooLarge: They are.
        RecursionError: A value is nested about a thousand levels deep.
    """
    values = result.document() if result else {}
    if error := NoSuchOutputs.among(wanted, values):
        raise error
    response, size = pb.ModelInferResponse(), 0
    for name in wanted or values:
        tensor = tensor_of(values[name], declared.get(name))
        output = _output(name, tensor)
        size += _FIELDS + output.ByteSize() + len(tensor.raw)
        if size > max_bytes:
            raise OutputsTooLarge
        response.outputs.append(output)
        response.raw_output_contents.append(tensor.raw)
    return response


def outputs_bytes_of(
    result: Shaped | None,
    wanted: Sequence[str],
    declared: Mapping[str, Datatype],
    max_bytes: int,
) -> bytes:
    """The bytes of `outputs_of`."""
    return outputs_of(result, wanted, declared, max_bytes).SerializeToString()


def _output(name: str, tensor: Tensor) -> pb.ModelInferResponse.InferOutputTensor:
    output = pb.ModelInferResponse.InferOutputTensor(
        name=name, datatype=tensor.datatype.name, shape=tensor.shape
    )
    if tensor.is_json:
        output.parameters[CONTENT_TYPE].string_param = JSON
    return output
