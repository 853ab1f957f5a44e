"""A fake Airflow to test against."""

from fakes.airflow.fake import Asked, FakeAirflow
from fakes.airflow.routes import Kind
from fakes.airflow.state import TEARDOWN_RULE, Dag, Run, Step, Task

__all__ = ["TEARDOWN_RULE", "Asked", "Dag", "FakeAirflow", "Kind", "Run", "Step", "Task"]
