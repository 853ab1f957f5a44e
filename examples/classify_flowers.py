"""Classify a batch of flowers: numpy in, numpy back, through a DAG that is a model.

Needs Triton's client and nothing of ours: `pip install "tritonclient[grpc]"`. The DAG is
`examples/dags/classify_iris.py`, which `make demo` serves on the port below; another address goes
on the command line.
"""

from __future__ import annotations

import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

TARGET = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
DAG = "classify_iris"

flowers = np.array(
    [[5.1, 3.5, 1.4, 0.2], [6.1, 2.8, 4.7, 1.2], [7.7, 2.6, 6.9, 2.3]],
    dtype=np.float32,
)

with triton.InferenceServerClient(TARGET) as client:
    print("What it takes and gives:")
    model = client.get_model_metadata(DAG, client_timeout=10)
    for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            print(f"  {kind:7} {tensor.name:14} {tensor.datatype:6} {[*tensor.shape]}")

    batch = triton.InferInput("instances", flowers.shape, "FP32").set_data_from_numpy(flowers)
    result = client.infer(
        DAG,
        [batch],
        outputs=[triton.InferRequestedOutput(name) for name in ("labels", "probabilities")],
        parameters={"audit_seconds": 1},
        client_timeout=120,
    )
    run_id = result.get_response().parameters["dag_run_id"].string_param
    print(f"The whole batch was one run, {run_id}:")
    probabilities = result.as_numpy("probabilities")
    for label, of_flower in zip(result.as_numpy("labels"), probabilities, strict=True):
        print(f"  {label.decode():11} {of_flower.max():.3f}")

    flowers[1, 2] = -1
    batch.set_data_from_numpy(flowers)
    try:
        client.infer(DAG, [batch], client_timeout=120)
    except InferenceServerException as error:
        print("A flower that is none:", error.message())
