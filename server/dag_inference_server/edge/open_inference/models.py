"""What a DAG is as a model."""

from __future__ import annotations

from importlib.metadata import version

from dag_inference_server.airflow import DagDetails
from dag_inference_server.edge.check import Check
from dag_inference_server.edge.open_inference.fitting import check_version
from dag_inference_server.inference import open_inference_pb2 as pb
from dag_inference_server.tensors.declared import Declared, input_of, outputs

_PLATFORM = "airflow"
_EXTENSIONS = ("parameters",)
"""Triton's name for parameters of one's own in a request."""


def server_metadata() -> pb.ServerMetadataResponse:
    """What this server is."""
    return pb.ServerMetadataResponse(
        name="dag-inference", version=version("dag-inference-server"), extensions=_EXTENSIONS
    )


def read_metadata(request: pb.ModelMetadataRequest) -> str:
    """The DAG that is asked about.

    Raises:
        RequestInvalid: Its name is none.
    """
    check = Check()
    check.id("name", request.name)
    check.done()
    return request.name


def model_metadata(dag: DagDetails, wanted: str) -> pb.ModelMetadataResponse:
    """What a DAG takes and gives, in its latest version.

    Raises:
        RequestInvalid: Another version is wanted.
    """
    check_version(wanted, dag)
    return pb.ModelMetadataResponse(
        name=dag.dag_id,
        versions=[str(dag.version)] if dag.version else [],
        platform=_PLATFORM,
        inputs=[
            _tensor(name, input_of(param.schema_, param.value))
            for name, param in (dag.params or {}).items()
        ],
        outputs=[
            _tensor(name, declared)
            for name, declared in outputs(tag.name for tag in dag.tags).items()
        ],
    )


def _tensor(name: str, declared: Declared) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=name, datatype=declared.datatype.name, shape=declared.shape
    )
