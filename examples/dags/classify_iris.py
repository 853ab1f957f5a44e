"""Classify iris flowers: a model behind a call, and a slow chore that no caller waits for.

`features` checks the rows and derives two more columns, `predict` trains a small classifier and
classifies them, `audit` notes what was answered. The answer is what `predict` returns (it is
marked `@result`), so it is there as soon as `predict` is done, however long `audit` takes.

**conf** (all optional)

- `instances`: flowers, each a row of four lengths in cm: sepal length, sepal width, petal length,
  petal width. Default: one flower.
- `audit_seconds`: how long `audit` takes, 0 to 600. Default: 20.

**result**, for the default conf

    {
      "labels": ["setosa"],
      "classes": ["setosa", "versicolor", "virginica"],
      "probabilities": [[0.989, 0.011, 0.0]],
      "model": {"name": "LogisticRegression", "training_accuracy": 0.973333}
    }

A length that is not a positive number fails the run with a message that names it.
"""

from __future__ import annotations

import logging
import math
import time
from typing import Any

from airflow.sdk import Param, dag, get_current_context, result, task, teardown

COLUMNS = ("sepal length", "sepal width", "petal length", "petal width")

log = logging.getLogger(__name__)


def derive(row: list[float]) -> list[float]:
    """Append the petal's area and the sepal's length to width ratio to the four lengths."""
    sepal_length, sepal_width, petal_length, petal_width = row
    return [*row, petal_length * petal_width, sepal_length / sepal_width]


@task
def features() -> list[list[float]]:
    """Check the rows and turn each into the six features that the model uses."""
    rows: list[list[float]] = get_current_context()["params"]["instances"]
    for i, row in enumerate(rows):
        for column, value in zip(COLUMNS, row, strict=True):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"instances[{i}]: {column} must be above 0 cm, got {value}")
    return [derive(row) for row in rows]


# multiple_outputs=False: one XCom holds the whole dict, rather than one more XCom for each key.
@result
@task(multiple_outputs=False)
def predict(rows: list[list[float]]) -> dict[str, Any]:
    """Train on the 150 flowers that come with scikit-learn, and classify the rows."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    iris = load_iris()
    known = [derive(row) for row in iris.data.tolist()]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(known, iris.target)

    classes = [str(name) for name in iris.target_names]
    return {
        "labels": [classes[k] for k in model.predict(rows)],
        "classes": classes,
        "probabilities": [[round(p, 6) for p in row] for row in model.predict_proba(rows).tolist()],
        "model": {
            "name": "LogisticRegression",
            "training_accuracy": round(float(model.score(known, iris.target)), 6),
        },
    }


@teardown
@task
def audit(prediction: dict[str, Any] | None) -> None:
    """Write what was answered to the task log. Slow on purpose: nobody waits for it."""
    time.sleep(get_current_context()["params"]["audit_seconds"])
    if prediction is None:
        log.warning("audit: nothing was answered")
    else:
        log.info("audit: answered %s with %s", prediction["labels"], prediction["model"])


@dag(
    dag_id="classify_iris",
    description="Classify iris flowers, then audit the answer without making the caller wait.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=16,
    # What a client of the Open Inference Protocol is told to expect.
    tags=[
        "example",
        "output:labels:BYTES:-1",
        "output:classes:BYTES:3",
        "output:probabilities:FP32:-1,3",
        "output:model:BYTES",
    ],
    params={
        "instances": Param(
            [[5.1, 3.5, 1.4, 0.2]],
            description="Rows of sepal length, sepal width, petal length, petal width, in cm",
            type="array",
            minItems=1,
            maxItems=1000,
            items={"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
        ),
        "audit_seconds": Param(
            20,
            description="How long the audit takes, in seconds",
            type="number",
            minimum=0,
            maximum=600,
        ),
    },
)
def classify_iris() -> None:
    """Wire the tasks: features, predict, audit."""
    rows = features()
    prediction = predict(rows)
    audit(prediction)


classify_iris()
