"""What of a request depends on what its DAG is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from dag_inference.errors import RequestInvalid, Subject, Violation
from dag_inference_server.airflow import DagDetails
from dag_inference_server.edge.open_inference.outputs import NoSuchOutputs
from dag_inference_server.results.conf import NoConf, faults
from dag_inference_server.results.struct import Json
from dag_inference_server.tensors.declared import Declared, outputs
from dag_inference_server.tensors.reading import Input

_FAULTS = 20
"""That are told of one conf."""


@dataclass(slots=True)
class Inference:
    """A request, to be fitted to its DAG."""

    inputs: Mapping[str, Input]
    parameters: Mapping[str, Json]
    version: str = ""
    """The version that is meant; empty for the latest."""
    outputs: tuple[str, ...] = ()
    """The outputs that are wanted; none for all."""
    declared: Mapping[str, Declared] = field(default_factory=dict)
    """The outputs that the DAG's author has declared, once the DAG is known."""

    def conf(self, dag: DagDetails) -> Mapping[str, Json]:
        """The conf, each tensor as the value that its param can mean."""
        self.declared = outputs(tag.name for tag in dag.tags)
        params, conf = dag.params or {}, dict(self.parameters)
        for name, tensor in self.inputs.items():
            param = params.get(name)
            try:
                conf[name] = (
                    tensor.fitted(name, param.schema_, param.value) if param else tensor.value
                )
            except NoConf as error:
                violation = Violation(f"conf{error.fault.path}", error.fault.why)
                raise RequestInvalid(
                    f"{violation.field}: {violation.description}", violations=[violation]
                ) from None
        # Texts that were read as JSON can hold what cannot be stored.
        found = [*islice(faults(conf), _FAULTS)]
        if found:
            violations = [Violation(f"conf{fault.path}", fault.why) for fault in found]
            raise RequestInvalid(
                "; ".join(f"{v.field}: {v.description}" for v in violations[:5]),
                violations=violations,
            )
        return conf

    def can_mean(self, conf: Mapping[str, Json]) -> bool:
        """Whether an earlier call of the same words had this conf."""
        said = {**self.parameters, **{name: tensor.value for name, tensor in self.inputs.items()}}
        return said.keys() == conf.keys() and all(
            self.inputs.get(name, Input(value)).can_mean(conf[name]) for name, value in said.items()
        )

    def check(self, dag: DagDetails) -> None:
        """Make sure that it is the version that is meant, and has the outputs that are wanted."""
        check_version(self.version, dag)
        if self.declared:
            error = NoSuchOutputs.among(self.outputs, self.declared)
            if error is not None:
                raise not_there(error, self.outputs, Subject(dag.dag_id))


def is_latest(version: str, dag: DagDetails) -> bool:
    """Whether a version is a DAG's latest; none is, where Airflow does not tell."""
    return bool(dag.version) and version == str(dag.version)


def check_version(version: str, dag: DagDetails) -> None:
    """Make sure that a version is the latest, or none.

    Raises:
        RequestInvalid: It is another, of which no run can be made.
    """
    if version and not is_latest(version, dag):
        latest = dag.version or "not told by Airflow"
        why = f"is not the latest version of {dag.dag_id}, which is {latest}"
        raise RequestInvalid(
            f"the version {version[:20]} {why}",
            subject=Subject(dag.dag_id),
            violations=[Violation("model_version", why)],
        )


def not_there(error: NoSuchOutputs, wanted: Sequence[str], subject: Subject) -> RequestInvalid:
    """The error of a request that wants outputs which there are not."""
    places, known = error.args
    unknown = [
        Violation(f"outputs[{place}].name", f"there is no output {wanted[place][:100]}")
        for place in places
    ]
    there = ", ".join(known) or "none"
    return RequestInvalid(
        f"{unknown[0].field}: {unknown[0].description}; the outputs are: {there}",
        subject=subject,
        violations=unknown,
    )
