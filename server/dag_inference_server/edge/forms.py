"""A result in the form that its caller asks for: the bytes of a response, made in any process.

Nothing here loads Airflow's client, which takes a new process seconds.
"""

from __future__ import annotations

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.results.shape import Shaped
from dag_inference_server.results.struct import to_struct
from dag_inference_server.results.text import to_text


def as_struct(result: Shaped, max_bytes: int) -> bytes:
    """A response that has the result as a Struct, and nothing else.

    Raises:
        TooDeep: As `to_struct`.
        TooLarge: As `to_struct`.
        RecursionError: It is nested about a thousand levels deep.
    """
    struct = to_struct(result.unpacked().document, max_bytes)
    return pb.InvokeResponse(result=struct).SerializeToString()


def as_text(result: Shaped) -> bytes:
    """A response that has the result as JSON, and nothing else.

    Raises:
        RecursionError: It is nested about a thousand levels deep.
    """
    text = to_text(result.unpacked().value)
    return pb.InvokeResponse(result_json=text).SerializeToString()
